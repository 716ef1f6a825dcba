"""JP2 boxes around a codestream: what GetImageFrame serves as ``image/jph``.

Source: ISO/IEC 15444-1 Annex I and 15444-15 Annex D. HealthImaging's frames have the brand ``jp2`` around
an HTJ2K codestream (AWS's sample frame); ours list both brands, so readers that check for either open them.
"""

from __future__ import annotations

import struct

from lightwell.imaging.errors import cannot_transcode

SIGNATURE = bytes.fromhex("0000000c6a5020200d0a870a")
_FILE_TYPE = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"jp2 ", 0, b"jp2 ", b"jph ")
_RGB, _GREY = 16, 17
# Three samples are always declared as sRGB, even YBR frames: for sYCC (18) OpenJPEG's readers convert to RGB,
# and neither the samples nor their checksum would match the stored ones.


def box_head(rows: int, columns: int, samples: int, precision: int, signed: bool, length: int) -> bytes:
    """The boxes, or their headers, that precede a codestream of ``length`` bytes."""
    depth = (precision - 1) | (0x80 if signed else 0)
    header = struct.pack(">I4sIIHBBBB", 22, b"ihdr", rows, columns, samples, depth, 7, 0, 0)
    colour = struct.pack(">I4sBBBI", 15, b"colr", 1, 0, 0, _GREY if samples == 1 else _RGB)
    inner = header + colour
    outer = struct.pack(">I4s", 8 + len(inner), b"jp2h") + inner
    if length + 8 < 1 << 32:
        stream = struct.pack(">I4s", length + 8, b"jp2c")
    else:
        stream = struct.pack(">I4sQ", 1, b"jp2c", length + 16)
    return SIGNATURE + _FILE_TYPE + outer + stream


def codestream_of(data: bytes | memoryview) -> memoryview:
    """The bare codestream of a JP2 file; ``data`` itself if it is not one. Makes no copy.

    Some devices put whole JP2 files into DICOM fragments, which the standard forbids (PS3.5 A.4.4). Raises
    `PixelFailure` if the boxes contain no codestream.
    """
    view = memoryview(data)
    if bytes(view[:12]) != SIGNATURE:
        return view
    position = 12
    while position + 8 <= len(view):
        length, kind = struct.unpack_from(">I4s", view, position)
        head = 8
        if length == 1 and position + 16 <= len(view):
            (length,) = struct.unpack_from(">Q", view, position + 8)
            head = 16
        end = len(view) if length == 0 else position + length
        if kind == b"jp2c":
            return view[position + head : min(end, len(view))]
        if end < position + head:
            break
        position = end
    raise cannot_transcode("a frame is a JP2 file without a codestream box")
