"""Part 10 files from metadata and bulk data, as clients send them apart (STOW-RS).

Source: PS3.18 §10.5.1.4. The result goes through the same pipeline as every other file: nothing is trusted
because it was assembled here. Bulk data are not copied: they are read where the upload has them.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any

from lightwell.errors import InputError
from lightwell.imaging.assembly.bulk_parts import BulkPart, BulkParts
from lightwell.imaging.assembly.encoded_elements import (
    UTF8,
    Encoded,
    Piece,
    bulk_parts_of,
    elements_of,
    encode,
    header,
    inline_binary,
    padded,
    vr_of,
)
from lightwell.imaging.assembly.model_text import Dataset
from lightwell.imaging.dataset.dicom_json import OFFSET_TABLES
from lightwell.imaging.dataset.dictionary import CHARSET, PIXEL_TAGS, attribute_of
from lightwell.imaging.dataset.transfer_syntaxes import EXPLICIT_LITTLE, SYNTAXES

# PS3.7 Annex D.3.3.2; from a UUID (PS3.5 B.2).
_IMPLEMENTATION_CLASS = "2.25.209183464857640120986270927468284893735"
_CLASS, _INSTANCE, _SYNTAX, _AVAILABLE = 0x00080016, 0x00080018, 0x00020010, 0x00083002
_PIXEL_DATA = 0x7FE00010
# Pixel data are encoded on their own; their offset tables would be those of another encoding; and the
# transfer syntaxes that a server offers are no part of the instance.
_LEFT_OUT = frozenset((*PIXEL_TAGS, *OFFSET_TABLES, _AVAILABLE))
_DESCRIBING = {
    0x00280002: "SamplesPerPixel",
    0x00280004: "PhotometricInterpretation",
    0x00280010: "Rows",
    0x00280011: "Columns",
    0x00280100: "BitsAllocated",
}
_FRAMES = 0x00280008
_BITS = {0x7FE00008: 32, 0x7FE00009: 64}
_TERM = re.compile(r"[A-Z0-9_ ]{0,16}")
_UNDEFINED = 0xFFFFFFFF
_MOST_FRAMES = 1 << 24


class AssembledSource:
    """The bytes of a file that is partly in memory, partly in the upload: a `byte_source.Source`."""

    def __init__(self, pieces: list[Piece], read_upload: Callable[[int, int], bytes]) -> None:
        self._read_upload = read_upload
        self._pieces: list[Piece] = []
        self._starts: list[int] = []
        self.size = 0
        gathered: list[bytes] = []
        for piece in (*pieces, None):
            if isinstance(piece, bytes):
                gathered.append(piece)
                continue
            if gathered:
                self._append(b"".join(gathered))
                gathered = []
            if piece is not None:
                self._append(piece)

    def _append(self, piece: Piece) -> None:
        length = len(piece) if isinstance(piece, bytes) else piece.length
        if length:
            self._pieces.append(piece)
            self._starts.append(self.size)
            self.size += length

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes at ``offset``; fewer only at the end."""
        end = min(offset + length, self.size)
        found = []
        place = max(bisect_right(self._starts, offset) - 1, 0)
        while offset < end:
            piece, start = self._pieces[place], offset - self._starts[place]
            size = len(piece) if isinstance(piece, bytes) else piece.length
            count = min(end - offset, size - start)
            if isinstance(piece, bytes):
                found.append(piece[start : start + count])
            else:
                found.append(self._read_upload(piece.offset + start, count))
            offset += count
            place += 1
        return found[0] if len(found) == 1 else b"".join(found)

    def close(self) -> None:
        """The upload is closed by whoever opened it."""


def assemble(dataset: Dataset, parts: BulkParts) -> list[Piece]:
    """The pieces of the Part 10 file of one instance.

    Raises `InputError` for metadata that cannot be encoded as they are, and for pixel data that they do not
    describe.
    """
    given = elements_of(dataset)
    pixels = [attribute.tag for attribute, _ in given if attribute.tag in PIXEL_TAGS]
    if len(pixels) > 1:
        raise InputError("The metadata have more than one kind of pixel data")
    first, second, last = (
        encode({a.hex: e for a, e in given if low < a.tag < high and a.tag >> 16 != 2}, parts, _LEFT_OUT)
        for low, high in ((0, CHARSET), (CHARSET, _PIXEL_DATA), (_PIXEL_DATA, 1 << 32))
    )
    syntax, pixel = _pixel_element(dataset, pixels[0], parts) if pixels else (EXPLICIT_LITTLE, Encoded([]))
    charset = _character_set(dataset, first.is_ascii and second.is_ascii and last.is_ascii)
    meta = _file_meta(_uid(dataset, _CLASS), _uid(dataset, _INSTANCE), syntax)
    start = b"\0" * 128 + b"DICM" + meta
    return [start, *first.pieces, charset, *second.pieces, *pixel.pieces, *last.pieces]


def _character_set(dataset: Dataset, is_ascii: bool) -> bytes:
    """SpecificCharacterSet: that of the metadata if all text is the same in it, or else UTF-8."""
    element = dataset.get(f"{CHARSET:08X}")
    stated = element.get("Value") if isinstance(element, dict) else None
    if not stated and is_ascii:
        return b""
    if is_ascii and isinstance(stated, list) and all(_has_ascii(each) for each in stated):
        value = "\\".join(each or "" for each in stated)
    else:
        value = UTF8
    data = padded(value.encode(), "CS")
    return header(CHARSET, "CS", len(data)) + data


def _has_ascii(term: object) -> bool:
    """Whether a defined term contains ASCII; those of JIS X 0201 have a yen sign and an overline there."""
    return term is None or (
        type(term) is str and _TERM.fullmatch(term) is not None and not term.endswith(" 13")
    )


def identification(dataset: Mapping[str, Any]) -> tuple[str, str]:
    """SOPClassUID and SOPInstanceUID, "" for one that cannot be read; raises nothing."""
    found = []
    for tag in (_CLASS, _INSTANCE):
        try:
            found.append(_uid(dataset, tag))
        except InputError:
            found.append("")
    return found[0], found[1]


def _file_meta(sop_class: str, sop_instance: str, syntax: str) -> bytes:
    """Group 0002 (PS3.10 §7.1)."""
    elements = header(0x00020001, "OB", 2) + b"\x00\x01"
    for tag, uid in (
        (0x00020002, sop_class),
        (0x00020003, sop_instance),
        (_SYNTAX, syntax),
        (0x00020012, _IMPLEMENTATION_CLASS),
    ):
        value = padded(uid.encode("ascii", "replace"), "UI")
        elements += header(tag, "UI", len(value)) + value
    return header(0x00020000, "UL", 4) + struct.pack("<I", len(elements)) + elements


def _uid(dataset: Mapping[str, Any], tag: int) -> str:
    value = _first(dataset, tag)
    if not isinstance(value, str) or not value or len(value) > 256 or not value.isascii():
        raise InputError(f"DICOM attribute {attribute_of(tag).keyword} does not exist")
    return value


def _first(dataset: Mapping[str, Any], tag: int) -> Any:
    element = dataset.get(f"{tag:08X}")
    listed = element.get("Value") if isinstance(element, dict) else None
    return listed[0] if isinstance(listed, list) and listed else None


def _number(dataset: Mapping[str, Any], tag: int, default: int | None = None) -> int:
    value = _first(dataset, tag)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or not value.strip().isdecimal() or len(value) > 10:
        raise InputError(
            f"{attribute_of(tag).keyword} is missing or not a number, so the pixel data are not described"
        )
    return int(value)


def _stated_syntax(dataset: Mapping[str, Any]) -> str | None:
    """The transfer syntax that the metadata name, in either attribute."""
    for tag in (_SYNTAX, _AVAILABLE):
        value = _first(dataset, tag)
        if isinstance(value, str) and value in SYNTAXES:
            return value
    return None


def _pixel_element(dataset: Dataset, tag: int, parts: BulkParts) -> tuple[str, Encoded]:
    """The transfer syntax of the file, and its pixel element."""
    attribute, element = attribute_of(tag), dataset[f"{tag:08X}"]
    for needed, keyword in _DESCRIBING.items():
        if _first(dataset, needed) is None:
            raise InputError(f"{keyword} is missing, so the pixel data are not described")
    vr = vr_of(attribute, element)
    frames = _number(dataset, _FRAMES, 1)
    if not 1 <= frames <= _MOST_FRAMES:
        raise InputError(f"NumberOfFrames is {frames}")
    if "BulkDataURI" not in element:
        if "InlineBinary" not in element:
            raise InputError(f"{attribute.name} has neither a BulkDataURI nor an InlineBinary")
        data = inline_binary(element)
        _check_native(dataset, tag, len(data), frames)
        return EXPLICIT_LITTLE, _native(dataset, tag, vr, [data], len(data))
    found = bulk_parts_of(element, parts)
    stated = _stated_syntax(dataset)
    syntaxes = {part.transfer_syntax(stated) for part in found}
    if len(syntaxes) > 1:
        raise InputError("The frames are in several transfer syntaxes")
    (syntax,) = syntaxes
    if syntax is not None:
        return syntax, _encapsulated(tag, found, frames, syntax)
    total = sum(part.length for part in found)
    if len(found) > 1:
        if len(found) != frames:
            raise InputError(
                f"NumberOfFrames is {frames}, and the request has {len(found)} parts with frames"
            )
        bits = _frame_bits(dataset, tag)
        if bits % 8:
            raise InputError("The frames do not end at whole bytes: send the pixel data as one part")
        if any(part.length * 8 != bits for part in found):
            raise InputError("A frame does not have the length that the metadata describe")
    _check_native(dataset, tag, total, frames)
    return EXPLICIT_LITTLE, _native(dataset, tag, vr, list(found), total)


def _frame_bits(dataset: Mapping[str, Any], tag: int) -> int:
    rows, columns, samples = (_number(dataset, each) for each in (0x00280010, 0x00280011, 0x00280002))
    bits = rows * columns * samples * _BITS.get(tag, _number(dataset, 0x00280100))
    if _first(dataset, 0x00280004) == "YBR_FULL_422" and samples == 3:
        return bits * 2 // 3
    return bits


def _check_native(dataset: Mapping[str, Any], tag: int, length: int, frames: int) -> None:
    expected = (_frame_bits(dataset, tag) * frames + 7) // 8
    if length not in (expected, expected + expected % 2):
        raise InputError(
            f"The pixel data have {length} bytes, and the metadata describe {expected} bytes of uncompressed "
            "pixels. If they are compressed, state their media type as the Content-Type of their part"
        )


def _native(dataset: Mapping[str, Any], tag: int, vr: str, pieces: list[Piece], length: int) -> Encoded:
    if tag in _BITS:
        vr = "OF" if _BITS[tag] == 32 else "OD"
    elif _number(dataset, 0x00280100) > 8 or vr not in ("OB", "OW"):
        vr = "OW"
    if length + length % 2 >= _UNDEFINED:
        raise InputError("The pixel data are longer than 4 GiB: send them compressed")
    encoded = Encoded([])
    encoded.add(header(tag, vr, length + length % 2), *pieces)
    if length % 2:
        encoded.add(b"\0")
    return encoded


def _encapsulated(tag: int, found: list[BulkPart], frames: int, syntax: str) -> Encoded:
    """A fragment for each part, after an empty Basic Offset Table (PS3.5 A.4)."""
    if not SYNTAXES[syntax].video and len(found) != frames:
        raise InputError(
            f"NumberOfFrames is {frames}, and the request has {len(found)} parts with compressed frames: "
            "send each frame as a part, with the BulkDataURI and /frames/N as its Content-Location"
        )
    encoded = Encoded([])
    encoded.add(header(tag, "OB", _UNDEFINED), struct.pack("<HHI", 0xFFFE, 0xE000, 0))
    for part in found:
        if not part.length:
            raise InputError(f"The part {part.location[:200]!r} is empty")
        length = part.length + part.length % 2
        if length >= _UNDEFINED:
            raise InputError("A frame is longer than 4 GiB")
        encoded.add(struct.pack("<HHI", 0xFFFE, 0xE000, length), part)
        if part.length % 2:
            encoded.add(b"\0")
    encoded.add(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
    return encoded
