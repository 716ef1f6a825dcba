"""A DICOM Part 10 file built again from its original data set and its stored frames.

Source: PS3.10 §7 (file format), PS3.5 §8 and A.4 (encoding of pixel data). Elements come out byte for byte as
they came, except where their encoding has to change.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from lightwell.domain.image_sets.edits import NONE, Edits
from lightwell.errors import InputError
from lightwell.imaging.dataset.character_sets import charset_of
from lightwell.imaging.dataset.dictionary import CHARSET
from lightwell.imaging.dataset.element_scanner import UNDEFINED, ElementScanner, ElementSpan, Encoding
from lightwell.imaging.dataset.full_parser import in_order
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.dataset.part10 import EXPLICIT_BIG, IMPLICIT_LITTLE, BytesSource, split_meta
from lightwell.imaging.dataset.reencode import UTF8, Transcriber, element_head
from lightwell.imaging.dataset.transfer_syntaxes import DEFLATED, EXPLICIT_LITTLE, SYNTAXES
from lightwell.imaging.editing.edited_elements import edited_elements, is_ascii
from lightwell.imaging.editing.override_elements import override_elements

PIXEL_TAGS = {"PixelData": 0x7FE00010, "FloatPixelData": 0x7FE00008, "DoubleFloatPixelData": 0x7FE00009}
_OFFSET_TABLES = (0x7FE00001, 0x7FE00002, 0x7FE00003)
_TRANSFER_SYNTAX, _GROUP_LENGTH = 0x00020010, 0x00020000
_PHOTOMETRIC, _PLANAR = 0x00280004, 0x00280006
ITEM = struct.pack("<HH", 0xFFFE, 0xE000)
END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
_LONGEST = 0xFFFFFFFE
_BLOCK = 1 << 16
_EXPLICIT = Encoding(implicit=False, big=False)


@dataclass(frozen=True, slots=True)
class PixelValue:
    """The value of the pixel element to write.

    ``pieces`` are its bytes in order; ``length`` is their sum, or None for an encapsulated value: its pieces
    are items and delimiter already, ``size`` is their sum where it is known. ``syntax`` is the transfer
    syntax that the file will have. ``image`` describes the frames where the data set may say otherwise.
    ``whole`` tells that the value is as it came, so that its offset tables are still true.
    """

    keyword: str
    vr: str
    syntax: str
    length: int | None
    pieces: Iterable[bytes]
    image: ImageDescription | None = None
    whole: bool = False
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Part10File:
    """A file that is about to be written: its TransferSyntaxUID, its bytes, and how many they are if known.

    Iterating reads the frames; it raises `InputError` where they do not give the length that is due, and what
    reading them raises.
    """

    syntax: str
    length: int | None
    pieces: Iterator[bytes]


def write_part10(
    out: BinaryIO,
    original: bytes,
    pixel: PixelValue | None,
    override: Mapping[str, object] | None = None,
    edits: Edits = NONE,
) -> None:
    """Write the file of `part10` to ``out``."""
    out.writelines(part10(original, pixel, override, edits).pieces)


def part10(
    original: bytes,
    pixel: PixelValue | None,
    override: Mapping[str, object] | None = None,
    edits: Edits = NONE,
    *,
    syntax: str | None = None,
) -> Part10File:
    """Preamble, file meta, data set and pixel element.

    ``original`` is the file meta group and the data set without its pixel element, in the syntax that the
    file meta names (a deflated one inflated); ``override`` is the DICOM JSON that was laid over it at import,
    and ``edits`` are what was changed since. ``syntax`` is the transfer syntax of a file without pixels where
    it shall not stay as it came. Raises `InputError` where the value does not fit its syntax.
    """
    if pixel and pixel.length is not None and pixel.length > _LONGEST:
        raise InputError(
            f"{pixel.length} bytes of pixel data do not fit a native DICOM file; the most is {_LONGEST}"
        )
    source = BytesSource(original)
    meta, came_in = split_meta(source, 0)
    walker = ElementScanner(source)
    found = walker.sniff(len(meta), _form_of(came_in, _EXPLICIT))
    places = [place for place in walker.root(len(meta), found) if place.tag >> 16 not in (0, 2)]
    if pixel:
        syntax = pixel.syntax
    elif syntax is None:
        syntax = EXPLICIT_LITTLE if override or edits else came_in
    if syntax == DEFLATED:
        syntax = EXPLICIT_LITTLE  # the original is kept inflated
    form = _form_of(syntax, found)
    if form.implicit and not found.implicit and (not pixel or pixel.length is not None):
        syntax, form = EXPLICIT_LITTLE, _EXPLICIT  # what the data set is, whatever its file meta says
    laid = override_elements(override, form) if override else {}
    changed = edited_elements(edits, form, with_pixels=pixel is not None)
    ascii = json.dumps(override, ensure_ascii=False).isascii() and is_ascii(edits)
    utf8 = not ascii and not _is_utf8(places, original)
    if utf8:
        laid[CHARSET] = element_head(CHARSET, "CS", len(UTF8), form) + UTF8
    elements = _elements(walker, places, found, form, utf8=utf8)
    if pixel and pixel.image:
        laid |= _description(elements, pixel.image, form)
    elements |= laid
    _lay(elements, changed.elements)
    head = b"\0" * 128 + b"DICM" + _meta(meta, syntax, changed.meta)
    dropped = _OFFSET_TABLES if pixel and not pixel.whole else ()
    for tag in dropped:
        elements.pop(tag, None)
    length = len(head) + sum(map(len, elements.values()))
    if pixel:
        size = pixel.size if pixel.length is None else pixel.length + pixel.length % 2
        opening = len(_opening(pixel, form))
        return Part10File(
            syntax, None if size is None else length + opening + size, _pieces(head, elements, pixel, form)
        )
    return Part10File(syntax, length, _pieces(head, elements, None, form))


def _lay(elements: dict[int, bytes], changed: Mapping[int, bytes | None]) -> None:
    for tag, element in changed.items():
        if element is None:
            elements.pop(tag, None)
        else:
            elements[tag] = element


def _pieces(
    head: bytes, elements: dict[int, bytes], pixel: PixelValue | None, form: Encoding
) -> Iterator[bytes]:
    place = PIXEL_TAGS[pixel.keyword] if pixel else None
    waiting = [head]
    size = len(head)
    for tag in sorted(elements):
        if pixel and place is not None and tag > place:
            yield b"".join(waiting)
            yield from _pixel_element(pixel, form)
            place, waiting, size = None, [], 0
        waiting.append(elements[tag])
        size += len(elements[tag])
        if size > _BLOCK:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
    if pixel and place is not None:
        yield from _pixel_element(pixel, form)


def encapsulated(frames: Iterable[tuple[int, Iterable[bytes]]]) -> Iterator[bytes]:
    """Item by item: an empty Basic Offset Table, one fragment a frame, the delimiter (PS3.5 A.4).

    ``frames`` are the length of each frame and its bytes in pieces. Raises `InputError` where a frame is too
    long for an item.
    """
    yield ITEM + struct.pack("<L", 0)
    for length, pieces in frames:
        odd = length % 2
        if length + odd > _LONGEST:
            raise InputError(f"{length} bytes do not fit an item of encapsulated pixel data")
        yield ITEM + struct.pack("<L", length + odd)
        yield from pieces
        if odd:
            yield b"\0"
    yield END


def encapsulated_size(lengths: Iterable[int]) -> int:
    """How many bytes `encapsulated` yields for frames of these lengths."""
    return 2 * 8 + sum(8 + length + length % 2 for length in lengths)


def joined_bits(frames: Iterable[bytes], bits: int) -> Iterator[bytes]:
    """One-bit frames of ``bits`` bits each, joined without the padding between them (PS3.5 §8.1.1)."""
    if bits % 8 == 0:
        yield from frames
        return
    rest: NDArray[np.uint8] = np.empty(0, np.uint8)
    for frame in frames:
        unpacked = np.unpackbits(np.frombuffer(frame, np.uint8), count=bits, bitorder="little")
        rest = np.concatenate([rest, unpacked])
        whole = len(rest) // 8 * 8
        yield np.packbits(rest[:whole], bitorder="little").tobytes()
        rest = rest[whole:]
    if len(rest):
        yield np.packbits(rest, bitorder="little").tobytes()


def _form_of(syntax: str, unknown: Encoding) -> Encoding:
    """How elements are encoded under a transfer syntax; of one that is not known, as they were found."""
    if syntax == IMPLICIT_LITTLE:
        return Encoding(implicit=True, big=False)
    if syntax == EXPLICIT_BIG:
        return Encoding(implicit=False, big=True)
    return _EXPLICIT if syntax in SYNTAXES else unknown


def _is_utf8(places: list[ElementSpan], original: bytes) -> bool:
    terms = [original[place.value : place.value_end] for place in places if place.tag == CHARSET]
    return bool(terms) and charset_of(terms[-1]).codec == "utf_8"


def _elements(
    walker: ElementScanner, places: list[ElementSpan], found: Encoding, form: Encoding, *, utf8: bool
) -> dict[int, bytes]:
    """Tag → whole element in ``form``."""
    # Elements without a VR in an explicit data set are not passed on: what reads the file may not see them.
    if found == form and not utf8 and (form != _EXPLICIT or all(place.vr for place in places)):
        return {
            place.tag: walker.source.read(place.start, place.end - place.start)
            for place in in_order(places, [])
        }
    if form not in (found, _EXPLICIT):
        raise InputError("The file's own encoding cannot hold its pixel data in another one")
    return dict(Transcriber(walker, form, utf8=utf8).elements(places))


def _description(elements: dict[int, bytes], image: ImageDescription, form: Encoding) -> dict[int, bytes]:
    """What the Image Pixel module must say of decoded frames and does not."""
    head = 8
    changed: dict[int, bytes] = {}
    photometric = image.photometric.encode("ascii", "replace")
    if photometric and elements.get(_PHOTOMETRIC, b"")[head:].strip(b"\0 ") != photometric:
        photometric += b" " * (len(photometric) % 2)
        changed[_PHOTOMETRIC] = element_head(_PHOTOMETRIC, "CS", len(photometric), form) + photometric
    if image.samples > 1:
        changed[_PLANAR] = element_head(_PLANAR, "US", 2, form) + struct.pack("<H", image.planar)
    return changed


def _meta(file_meta: bytes, syntax: str, changed: Mapping[int, bytes | None]) -> bytes:
    """The file meta group with another transfer syntax and what was changed, its length put right."""
    walker = ElementScanner(BytesSource(file_meta))
    elements = {
        place.tag: file_meta[place.start : place.end]
        for place in walker.root(0, _EXPLICIT)
        if place.tag != _GROUP_LENGTH
    }
    _lay(elements, changed)
    uid = syntax.encode("ascii", "replace")
    uid += b"\0" * (len(uid) % 2)
    elements[_TRANSFER_SYNTAX] = element_head(_TRANSFER_SYNTAX, "UI", len(uid), _EXPLICIT) + uid
    content = b"".join([elements[tag] for tag in sorted(elements)])
    return element_head(_GROUP_LENGTH, "UL", 4, _EXPLICIT) + struct.pack("<I", len(content)) + content


def _opening(pixel: PixelValue, form: Encoding) -> bytes:
    length = UNDEFINED if pixel.length is None else pixel.length + pixel.length % 2
    return element_head(PIXEL_TAGS[pixel.keyword], pixel.vr, length, form)


def _pixel_element(pixel: PixelValue, form: Encoding) -> Iterator[bytes]:
    yield _opening(pixel, form)
    written = 0
    for piece in pixel.pieces:
        written += len(piece)
        yield piece
    if pixel.length is not None:
        if written != pixel.length:
            raise InputError(f"the stored frames give {written} bytes of pixel data, {pixel.length} are due")
        if written % 2:
            yield b"\0"
