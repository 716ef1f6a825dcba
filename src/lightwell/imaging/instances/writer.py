"""Building a DICOM Part 10 file from an original data set and stored frames.

Source: PS3.10 §7 (file format), PS3.5 §8 and A.4 (encoding of pixel data). Elements keep their bytes unless
their encoding has to change.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from lightwell.domain.image_sets.edits import NO_EDITS, Edits
from lightwell.errors import InputError
from lightwell.imaging.dataset.character_sets import charset_of
from lightwell.imaging.dataset.dictionary import CHARSET
from lightwell.imaging.dataset.element_scanner import UNDEFINED, ElementScanner, ElementSpan, Encoding
from lightwell.imaging.dataset.full_parser import sorted_by_tag
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.dataset.nested_pixels import NativePixels
from lightwell.imaging.dataset.part10 import EXPLICIT_BIG, IMPLICIT_LITTLE, BytesSource, read_file_meta
from lightwell.imaging.dataset.reencode import UTF8, Transcriber, element_header
from lightwell.imaging.dataset.transfer_syntaxes import DEFLATED, EXPLICIT_LITTLE, SYNTAXES
from lightwell.imaging.editing.edited_elements import edited_elements, is_ascii
from lightwell.imaging.editing.override_elements import override_elements

PIXEL_TAG_BY_KEYWORD = {
    "PixelData": 0x7FE00010,
    "FloatPixelData": 0x7FE00008,
    "DoubleFloatPixelData": 0x7FE00009,
}
_OFFSET_TABLES = (0x7FE00001, 0x7FE00002, 0x7FE00003)
_TRANSFER_SYNTAX, _GROUP_LENGTH = 0x00020010, 0x00020000
_PHOTOMETRIC, _PLANAR = 0x00280004, 0x00280006
ITEM = struct.pack("<HH", 0xFFFE, 0xE000)
END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
_MAXIMUM_LENGTH = 0xFFFFFFFE
_BLOCK = 1 << 16
_EXPLICIT = Encoding(implicit=False, big=False)
_NESTED_PIXELS = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")
"""PixelData (7FE0,0010) in little and big endian order; an original has no pixel element of its own."""


@dataclass(frozen=True, slots=True)
class PixelValue:
    """The value of the pixel element to write.

    ``pieces`` are its bytes in order; ``length`` is their total, or None for an encapsulated value, whose
    pieces include items and delimiter; ``size`` is then their total if it is known. ``syntax`` is the
    transfer syntax of the file. ``image`` describes the frames if the data set may differ from it.
    ``verbatim``: the value is as received, so its offset tables are still valid.
    """

    keyword: str
    vr: str
    syntax: str
    length: int | None
    pieces: Iterable[bytes]
    image: ImageDescription | None = None
    verbatim: bool = False
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Part10File:
    """A file to be written: its TransferSyntaxUID, its length if known, and its bytes.

    Iterating over ``pieces`` reads the frames; it raises `InputError` if they do not have the expected
    length, and whatever reading them raises.
    """

    syntax: str
    length: int | None
    pieces: Iterator[bytes]


def fits_native_element(image: ImageDescription) -> bool:
    """Whether all frames fit into a native pixel element, whose length has 32 bits (PS3.5 7.1.1)."""
    return (image.frame_bits * image.frames + 7) // 8 <= _MAXIMUM_LENGTH


def write_part10(
    out: BinaryIO,
    original: bytes,
    pixel: PixelValue | None,
    override: Mapping[str, object] | None = None,
    edits: Edits = NO_EDITS,
) -> None:
    """Write the file of `build_part10` to ``out``."""
    out.writelines(build_part10(original, pixel, override, edits).pieces)


def build_part10(
    original: bytes,
    pixel: PixelValue | None,
    override: Mapping[str, object] | None = None,
    edits: Edits = NO_EDITS,
    *,
    syntax: str | None = None,
    deflate: bool = False,
    decode_nested: Callable[[], Mapping[int, NativePixels]] | None = None,
) -> Part10File:
    """Preamble, file meta, data set and pixel element.

    ``original`` is the file meta group and the data set without its pixel element, in the transfer syntax
    that the file meta names (a deflated one inflated); ``override`` is the metadata override of its import,
    and ``edits`` are the later changes. ``syntax`` is the transfer syntax of a file without pixels, if it has
    to differ from the original's. With ``deflate``, a file in Explicit VR Little Endian is deflated (PS3.5
    A.5). In another transfer syntax than the original's, encapsulated pixel data within sequences becomes
    native: ``decode_nested`` is asked then, by offsets in ``original``, and what it does not give is left
    out. Raises `InputError` if the value does not fit its syntax.
    """
    if pixel and pixel.length is not None and pixel.length > _MAXIMUM_LENGTH:
        raise InputError(
            f"{pixel.length} bytes of pixel data do not fit in a native pixel element,"
            f" which holds at most {_MAXIMUM_LENGTH}"
        )
    source = BytesSource(original)
    meta, original_syntax = read_file_meta(source, 0)
    scanner = ElementScanner(source)
    original_encoding = scanner.detect_encoding(len(meta), _encoding_of(original_syntax, _EXPLICIT))
    spans = [
        span for span in scanner.scan_dataset(len(meta), original_encoding) if span.tag >> 16 not in (0, 2)
    ]
    if pixel:
        syntax = pixel.syntax
    elif syntax is None:
        syntax = EXPLICIT_LITTLE if override or edits else original_syntax
    if syntax == DEFLATED:
        syntax = EXPLICIT_LITTLE  # the original is stored inflated
    encoding = _encoding_of(syntax, original_encoding)
    if encoding.implicit and not original_encoding.implicit and (not pixel or pixel.length is not None):
        syntax, encoding = (
            EXPLICIT_LITTLE,
            _EXPLICIT,
        )  # the encoding of the data set, whatever its file meta declares
    overridden = override_elements(override, encoding) if override else {}
    changed = edited_elements(edits, encoding, with_pixels=pixel is not None)
    ascii = json.dumps(override, ensure_ascii=False).isascii() and is_ascii(edits)
    utf8 = not ascii and not _is_utf8(spans, original)
    if utf8:
        overridden[CHARSET] = element_header(CHARSET, "CS", len(UTF8), encoding) + UTF8
    nested = None
    if not _keeps_nested_pixels(original_syntax, syntax) and any(tag in original for tag in _NESTED_PIXELS):
        nested = decode_nested() if decode_nested is not None else {}
    elements = _elements(scanner, spans, original_encoding, encoding, nested, utf8=utf8)
    if pixel and pixel.image:
        overridden |= _image_pixel_elements(elements, pixel.image, encoding)
    elements |= overridden
    _apply(elements, changed.elements)
    deflate = deflate and syntax == EXPLICIT_LITTLE
    header = b"\0" * 128 + b"DICM" + _file_meta(meta, DEFLATED if deflate else syntax, changed.meta)
    invalid_tables = _OFFSET_TABLES if pixel and not pixel.verbatim else ()
    for tag in invalid_tables:
        elements.pop(tag, None)
    if deflate:
        return Part10File(DEFLATED, None, chain([header], _deflated(_pieces(b"", elements, pixel, encoding))))
    length = len(header) + sum(map(len, elements.values()))
    if pixel:
        size = pixel.size if pixel.length is None else pixel.length + pixel.length % 2
        header_size = len(_pixel_header(pixel, encoding))
        return Part10File(
            syntax,
            None if size is None else length + header_size + size,
            _pieces(header, elements, pixel, encoding),
        )
    return Part10File(syntax, length, _pieces(header, elements, None, encoding))


def _apply(elements: dict[int, bytes], changed: Mapping[int, bytes | None]) -> None:
    for tag, element in changed.items():
        if element is None:
            elements.pop(tag, None)
        else:
            elements[tag] = element


def _pieces(
    header: bytes, elements: dict[int, bytes], pixel: PixelValue | None, encoding: Encoding
) -> Iterator[bytes]:
    span = PIXEL_TAG_BY_KEYWORD[pixel.keyword] if pixel else None
    pending = [header]
    size = len(header)
    for tag in sorted(elements):
        if pixel and span is not None and tag > span:
            yield b"".join(pending)
            yield from _pixel_element(pixel, encoding)
            span, pending, size = None, [], 0
        pending.append(elements[tag])
        size += len(elements[tag])
        if size > _BLOCK:
            yield b"".join(pending)
            pending, size = [], 0
    if pending:
        yield b"".join(pending)
    if pixel and span is not None:
        yield from _pixel_element(pixel, encoding)


def _deflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A raw deflate stream, padded to an even length (PS3.5 A.5)."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    size = 0
    for piece in pieces:
        packed = packer.compress(piece)
        size += len(packed)
        yield packed
    packed = packer.flush()
    yield packed + b"\0" * ((size + len(packed)) % 2)


def encapsulate(frames: Iterable[tuple[int, Iterable[bytes]]]) -> Iterator[bytes]:
    """The items of encapsulated frames: an empty Basic Offset Table, a fragment for each frame, the delimiter
    (PS3.5 A.4).

    ``frames`` are the length of each frame and its bytes in pieces. Raises `InputError` if a frame is too
    long for an item.
    """
    yield ITEM + struct.pack("<L", 0)
    for length, pieces in frames:
        odd = length % 2
        if length + odd > _MAXIMUM_LENGTH:
            raise InputError(f"a frame of {length} bytes does not fit in an item of encapsulated pixel data")
        yield ITEM + struct.pack("<L", length + odd)
        yield from pieces
        if odd:
            yield b"\0"
    yield END


def encapsulated_size(lengths: Iterable[int]) -> int:
    """The bytes that `encapsulate` yields for frames of these lengths."""
    return 2 * 8 + sum(8 + length + length % 2 for length in lengths)


def pack_bit_frames(frames: Iterable[bytes], bits: int) -> Iterator[bytes]:
    """One-bit frames of ``bits`` bits each, packed without padding between them (PS3.5 §8.1.1)."""
    if bits % 8 == 0:
        yield from frames
        return
    remaining: NDArray[np.uint8] = np.empty(0, np.uint8)
    for frame in frames:
        unpacked = np.unpackbits(np.frombuffer(frame, np.uint8), count=bits, bitorder="little")
        remaining = np.concatenate([remaining, unpacked])
        complete = len(remaining) // 8 * 8
        yield np.packbits(remaining[:complete], bitorder="little").tobytes()
        remaining = remaining[complete:]
    if len(remaining):
        yield np.packbits(remaining, bitorder="little").tobytes()


def _encoding_of(syntax: str, unknown: Encoding) -> Encoding:
    """The encoding of a transfer syntax, ``unknown`` if that is not a known one."""
    if syntax == IMPLICIT_LITTLE:
        return Encoding(implicit=True, big=False)
    if syntax == EXPLICIT_BIG:
        return Encoding(implicit=False, big=True)
    return _EXPLICIT if syntax in SYNTAXES else unknown


def _keeps_nested_pixels(original_syntax: str, syntax: str) -> bool:
    """Whether encapsulated pixel data within sequences may stay as it is (PS3.5 A.4).

    It is not allowed in native files, but one that came so is given back so.
    """
    if syntax == original_syntax:
        return True
    return all(uid in SYNTAXES and not SYNTAXES[uid].encapsulated for uid in (original_syntax, syntax))


def _is_utf8(spans: list[ElementSpan], original: bytes) -> bool:
    terms = [original[span.value : span.value_end] for span in spans if span.tag == CHARSET]
    return bool(terms) and charset_of(terms[-1]).codec == "utf_8"


def _elements(
    scanner: ElementScanner,
    spans: list[ElementSpan],
    original_encoding: Encoding,
    encoding: Encoding,
    nested: Mapping[int, NativePixels] | None,
    *,
    utf8: bool,
) -> dict[int, bytes]:
    """Tag → bytes of the element in ``encoding``; ``nested`` as for `Transcriber`."""
    # Elements without a VR in an explicit data set are re-encoded: readers of the file may not accept them.
    if (
        original_encoding == encoding
        and not utf8
        and (encoding != _EXPLICIT or all(span.vr for span in spans))
    ):
        elements = {
            span.tag: scanner.source.read(span.start, span.end - span.start)
            for span in sorted_by_tag(spans, [])
        }
        if nested is not None:
            elements |= Transcriber(scanner, encoding, nested=nested).with_replaced_pixels(spans)
        return elements
    if encoding not in (original_encoding, _EXPLICIT):
        raise InputError("The data set cannot be re-encoded in the transfer syntax of its pixel data")
    return dict(Transcriber(scanner, encoding, utf8=utf8, nested=nested).elements(spans))


def _image_pixel_elements(
    elements: dict[int, bytes], image: ImageDescription, encoding: Encoding
) -> dict[int, bytes]:
    """The elements of the Image Pixel module that decoded frames change."""
    header = 8
    changed: dict[int, bytes] = {}
    photometric = image.photometric.encode("ascii", "replace")
    if photometric and elements.get(_PHOTOMETRIC, b"")[header:].strip(b"\0 ") != photometric:
        photometric += b" " * (len(photometric) % 2)
        changed[_PHOTOMETRIC] = element_header(_PHOTOMETRIC, "CS", len(photometric), encoding) + photometric
    if image.samples > 1:
        planar = struct.pack(">H" if encoding.big else "<H", image.planar)
        changed[_PLANAR] = element_header(_PLANAR, "US", 2, encoding) + planar
    return changed


def _file_meta(file_meta: bytes, syntax: str, changed: Mapping[int, bytes | None]) -> bytes:
    """The file meta group with the transfer syntax and the edits, its group length corrected."""
    scanner = ElementScanner(BytesSource(file_meta))
    elements = {
        span.tag: file_meta[span.start : span.end]
        for span in scanner.scan_dataset(0, _EXPLICIT)
        if span.tag != _GROUP_LENGTH
    }
    _apply(elements, changed)
    uid = syntax.encode("ascii", "replace")
    uid += b"\0" * (len(uid) % 2)
    elements[_TRANSFER_SYNTAX] = element_header(_TRANSFER_SYNTAX, "UI", len(uid), _EXPLICIT) + uid
    content = b"".join([elements[tag] for tag in sorted(elements)])
    return element_header(_GROUP_LENGTH, "UL", 4, _EXPLICIT) + struct.pack("<I", len(content)) + content


def _pixel_header(pixel: PixelValue, encoding: Encoding) -> bytes:
    length = UNDEFINED if pixel.length is None else pixel.length + pixel.length % 2
    return element_header(PIXEL_TAG_BY_KEYWORD[pixel.keyword], pixel.vr, length, encoding)


def _pixel_element(pixel: PixelValue, encoding: Encoding) -> Iterator[bytes]:
    yield _pixel_header(pixel, encoding)
    written = 0
    for piece in pixel.pieces:
        written += len(piece)
        yield piece
    if pixel.length is not None:
        if written != pixel.length:
            raise InputError(
                f"the stored frames have {written} bytes of pixel data, {pixel.length} are expected"
            )
        if written % 2:
            yield b"\0"
