"""Checks the headers of the HTJ2K codestreams that lightwell writes, before one is decoded.

The headers follow from the shape and type of the samples, so damage to them, truncation and trailing bytes
are found within microseconds; `codestream_structure` reads any codestream. Source: ISO/IEC 15444-1 Annex A.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache

from lightwell.imaging.errors import cannot_transcode

_TILE_PART_HEADER = struct.Struct(">HHHIBBH").pack
_SOT, _SOD = 0xFF90, 0xFF93


def check_form(
    stream: bytes | bytearray | memoryview,
    shape: tuple[int, ...],
    bits: int,
    *,
    signed: bool,
    transform: bool,
    levels: int,
) -> None:
    """Refuse a codestream other than lightwell writes for samples of ``shape``, ``bits`` and sign, with or
    without a colour ``transform``, in ``levels`` decompositions.

    It has one tile of the size of the image, no offsets, a tile-part for each resolution with its length in
    TLM, and ends after the last. Raises `PixelFailure`.
    """
    match = _header_pattern(shape, bits, signed, transform, levels).match(stream)
    if match is None:
        raise cannot_transcode("an HTJ2K frame has another header than was stored")
    position, parts = match.end(), levels + 1
    # The comment names the codec.
    position += int.from_bytes(stream[position - 2 : position]) - 2
    end = position + 6 + 6 * parts
    if stream[position : position + 6] != b"\xff\x55" + (4 + 6 * parts).to_bytes(2) + b"\0\x60":
        raise cannot_transcode("an HTJ2K frame has no TLM marker segment for its tile-parts")
    lengths = stream[position + 6 : end]
    position = end
    for part in range(parts):
        length = int.from_bytes(lengths[6 * part + 2 : 6 * part + 6])
        if length < 14 or stream[position : position + 14] != _TILE_PART_HEADER(
            _SOT, 10, 0, length, part, parts, _SOD
        ):
            raise cannot_transcode("an HTJ2K frame has a tile-part out of order")
        position += length
    if stream[position:] != b"\xff\xd9":
        raise cannot_transcode("an HTJ2K frame does not end after its last tile-part")


@lru_cache(64)
def _header_pattern(
    shape: tuple[int, ...], bits: int, signed: bool, transform: bool, levels: int
) -> re.Pattern[bytes]:
    """SOC, SIZ, CAP, COD, QCD and the length of COM."""
    rows, columns, *more = shape
    samples = more[0] if more else 1
    siz = struct.pack(">HH8IH", 38 + 3 * samples, 0x4000, columns, rows, 0, 0, columns, rows, 0, 0, samples)
    component = bytes([bits - 1 + 128 * signed, 1, 1])
    # RPCL, one layer, 64 × 64 code blocks of HTJ2K only, the reversible 5/3 wavelet.
    cod = struct.pack(">HBBH6B", 12, 0, 2, 1, transform, levels, 4, 4, 0x40, 1)
    bands = 3 * levels + 1
    # An exponent is the bits of a sample plus those that transforms add, in the upper five bits of a byte.
    exponents = b"".join(b"\\x%02x" % (exponent << 3) for exponent in range(bits + 1, bits + 7))
    pattern = (
        re.escape(b"\xff\x4f\xff\x51" + siz + component * samples)
        + rb"\xff\x50\x00\x08\x00\x02\x00\x00\x00[\x00-\x1f]"
        + re.escape(b"\xff\x52" + cod + b"\xff\x5c" + (3 + bands).to_bytes(2) + b"\x20")
        + b"[%b]{%d}" % (exponents, bands)
        + rb"\xff\x64\x00[\x04-\xff]"
    )
    return re.compile(pattern, re.DOTALL)
