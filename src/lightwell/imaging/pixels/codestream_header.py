"""The header of a compressed frame, read before any codec allocates memory for it.

Source: ISO/IEC 10918-1 Annex B (JPEG), 14495-1 Annex C (JPEG-LS), 15444-1 Annex A (JPEG 2000 and HTJ2K).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.errors import cannot_transcode

START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
WITHOUT_SEGMENT = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})


@dataclass(frozen=True, slots=True)
class CodestreamHeader:
    """Size and sample format of one coded frame.

    ``precision`` is bits per sample. ``process`` is the JPEG start-of-frame marker (0xC3 lossless, 0xF7
    JPEG-LS), 0 for JPEG 2000. ``transform``: the codestream uses a colour transform (RCT or ICT).
    """

    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool = False
    process: int = 0
    transform: bool = False


def read_header(data: bytes | memoryview, codec: str) -> CodestreamHeader:
    """Header of a frame under ``codec`` jpeg, jpegls or jpeg2000 (bare); raises `PixelFailure`."""
    try:
        if codec == "jpeg2000":
            return _jpeg2000(data)
        return _jpeg(data, codec)
    except (struct.error, IndexError) as error:
        raise cannot_transcode("a frame ends inside the header of its codestream") from error


def check_header(header: CodestreamHeader, image: ImageDescription) -> None:
    """Refuse a codestream whose size or samples differ from the attributes; raises `PixelFailure`."""
    actual = (header.rows, header.columns, header.samples)
    expected = (image.rows, image.columns, image.samples)
    if actual != expected:
        raise cannot_transcode(
            "the codestream of a frame has {} rows, {} columns and {} samples,".format(*actual)
            + " but the attributes say {}, {} and {}".format(*expected)
        )
    if header.precision > image.bits_allocated:
        raise cannot_transcode(
            f"the codestream of a frame has {header.precision} bits per sample,"
            f" but BitsAllocated is {image.bits_allocated}"
        )


def _jpeg(data: bytes | memoryview, codec: str) -> CodestreamHeader:
    if bytes(data[:2]) != b"\xff\xd8":
        raise cannot_transcode("a frame does not begin with a JPEG start marker")
    position = 2
    while True:
        marker, position = marker_at(data, position)
        if marker in WITHOUT_SEGMENT:
            continue
        if marker in (0xD9, 0xDA):
            raise cannot_transcode("a JPEG frame has no frame header before its scan")
        if marker in START_OF_FRAME:
            break
        position += segment_length(data, position)
    if (marker == 0xF7) != (codec == "jpegls"):
        raise cannot_transcode("a frame is JPEG-LS, but the transfer syntax says JPEG, or vice versa")
    precision, rows, columns, samples = struct.unpack_from(">BHHB", data, position + 2)
    if not (rows and columns):
        raise cannot_transcode("a JPEG frame does not have its number of lines in its frame header")
    return CodestreamHeader(rows, columns, samples, precision, process=marker)


def _jpeg2000(data: bytes | memoryview) -> CodestreamHeader:
    if bytes(data[:4]) != b"\xff\x4f\xff\x51":
        raise cannot_transcode("a frame does not begin as a JPEG 2000 codestream")
    capabilities, right, bottom, left, top = struct.unpack_from(">HIIII", data, 6)
    (samples,) = struct.unpack_from(">H", data, 40)
    components = [struct.unpack_from(">BBB", data, 42 + 3 * index) for index in range(samples)]
    if not components or right <= left or bottom <= top:
        raise cannot_transcode("a JPEG 2000 codestream has no pixels")
    if any(component != (components[0][0], 1, 1) for component in components):
        raise cannot_transcode("the components of a JPEG 2000 codestream differ in size or precision")
    if capabilities & 0x8000 and capabilities & 0x0FFF:
        raise cannot_transcode("a frame uses extensions of JPEG 2000 Part 2, which lightwell cannot decode")
    position, transform = 42 + 3 * samples, False
    while True:
        marker, position = marker_at(data, position)
        if marker in (0x90, 0x93, 0xD9):
            break
        if marker == 0x52:
            transform = data[position + 6] == 1
        position += segment_length(data, position)
    depth = components[0][0]
    return CodestreamHeader(
        bottom - top, right - left, samples, (depth & 0x7F) + 1, bool(depth & 0x80), transform=transform
    )


def marker_at(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """The marker at ``position`` and the position after it; fill bytes before it are skipped."""
    if data[position] != 0xFF:
        raise cannot_transcode("the header of a frame has something other than a marker")
    while data[position] == 0xFF:
        position += 1
    return data[position], position + 1


def segment_length(data: bytes | memoryview, position: int) -> int:
    (length,) = struct.unpack_from(">H", data, position)
    if length < 2:
        raise cannot_transcode("the header of a frame has a marker segment without a length")
    return int(length)
