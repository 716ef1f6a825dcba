"""The form of the HTJ2K codestreams that lightwell writes, looked at before one is decoded again.

All but the samples follows from what was encoded, so a damaged header, a cut and a tail are found in some
microseconds; `codestream_structure` reads codestreams of any form. Source: ISO/IEC 15444-1 Annex A.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache

from lightwell.imaging.errors import cannot_transcode

_PARTS = struct.Struct(">HHHIBBH").pack
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
    """Refuse a codestream that is not of the form which these have: samples of ``shape``, ``bits`` and sign,
    coded with a colour ``transform`` or without, in ``levels`` decompositions.

    It has one tile as large as the image, no offsets, a tile-part for each resolution, their lengths in
    TLM, and ends behind the last. Raises `PixelFailure`.
    """
    head = _head(shape, bits, signed, transform, levels).match(stream)
    if head is None:
        raise cannot_transcode("an HTJ2K frame has another header than it was stored with")
    place, parts = head.end(), levels + 1
    # The comment names the codec.
    place += int.from_bytes(stream[place - 2 : place]) - 2
    end = place + 6 + 6 * parts
    if stream[place : place + 6] != b"\xff\x55" + (4 + 6 * parts).to_bytes(2) + b"\0\x60":
        raise cannot_transcode("an HTJ2K frame has no list of its tile-parts")
    lengths = stream[place + 6 : end]
    place = end
    for part in range(parts):
        length = int.from_bytes(lengths[6 * part + 2 : 6 * part + 6])
        if length < 14 or stream[place : place + 14] != _PARTS(_SOT, 10, 0, length, part, parts, _SOD):
            raise cannot_transcode("an HTJ2K frame has a tile-part that is out of order")
        place += length
    if stream[place:] != b"\xff\xd9":
        raise cannot_transcode("an HTJ2K frame does not end behind its last tile-part")


@lru_cache(64)
def _head(shape: tuple[int, ...], bits: int, signed: bool, transform: bool, levels: int) -> re.Pattern[bytes]:
    """SOC, SIZ, CAP, COD, QCD and the length of COM."""
    rows, columns, *more = shape
    samples = more[0] if more else 1
    size = struct.pack(">HH8IH", 38 + 3 * samples, 0x4000, columns, rows, 0, 0, columns, rows, 0, 0, samples)
    component = bytes([bits - 1 + 128 * signed, 1, 1])
    # RPCL, one layer, 64 × 64 code blocks of HTJ2K alone, the reversible 5/3 wavelet.
    coding = struct.pack(">HBBH6B", 12, 0, 2, 1, transform, levels, 4, 4, 0x40, 1)
    bands = 3 * levels + 1
    # An exponent is the bits of a sample and what transforms add to them, in the upper five bits of a byte.
    exponents = b"".join(b"\\x%02x" % (exponent << 3) for exponent in range(bits + 1, bits + 7))
    pattern = (
        re.escape(b"\xff\x4f\xff\x51" + size + component * samples)
        + rb"\xff\x50\x00\x08\x00\x02\x00\x00\x00[\x00-\x1f]"
        + re.escape(b"\xff\x52" + coding + b"\xff\x5c" + (3 + bands).to_bytes(2) + b"\x20")
        + b"[%b]{%d}" % (exponents, bands)
        + rb"\xff\x64\x00[\x04-\xff]"
    )
    return re.compile(pattern, re.DOTALL)
