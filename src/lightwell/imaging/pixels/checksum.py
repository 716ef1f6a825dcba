"""CRC-32 of frames: of their samples, and of their stored bytes.

Of samples it is the checksum that HealthImaging's clients recompute (IFRC). Source:
devguide/pixel-data-verification and the buffer layout of AWS's own client samples: samples
interleaved by pixel, row by row, little endian, each in as many whole bytes as the precision of the
codestream needs.

A frame in RPCL order with a tile-part for each resolution can be cut after any of them, and what comes before
the cut is the same image, smaller (15444-1 B.12.1.3, PS3.5 10.18). That is only so where every tile has such
tile-parts, those of a resolution stand before all of the next, and TLM lists them as they are; else a frame
has a checksum of its whole only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import numpy as np
from isal import isal_zlib

from lightwell.domain.image_sets.frame_checks import BLOCK, FrameChecks, Prefix
from lightwell.imaging.dataset.transfer_syntaxes import HTJ2K_RPCL
from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels.codestream_structure import (
    COC,
    COD,
    POC,
    Codestream,
    has_true_tlm,
    read_structure,
)
from lightwell.imaging.pixels.samples import Samples

_RESOLUTION_FIRST = (1, 2)  # RLCP, RPCL (15444-1 table A.16)


def frame_checksum(samples: Samples) -> int:
    """Unsigned CRC-32 over decoded ``samples``, (rows, columns) or (rows, columns, samples per pixel)."""
    if sys.byteorder == "big" or samples.dtype.byteorder == ">":
        samples = samples.astype(samples.dtype.newbyteorder("<"))
    return int(isal_zlib.crc32(np.ascontiguousarray(samples).data))


def bytes_checksum(chunks: Iterable[bytes], value: int = 0) -> int:
    """Unsigned CRC-32 over bytes in pieces; ``value`` is the CRC-32 of the preceding bytes."""
    for chunk in chunks:
        value = isal_zlib.crc32(chunk, value)
    return int(value)


def level_ends(data: bytes, head: int) -> list[int]:
    """How many bytes of a stored frame stand before the end of each resolution level but the last.

    ``head`` is the number of bytes before the codestream. Empty where the frame cannot be cut there. The
    codestream has to be one that lightwell has encoded: that a tile-part has one resolution, as encoders do
    it that divide by R, is not seen from its header.
    """
    try:
        codestream = read_structure(memoryview(data)[head:])
    except PixelFailure:
        return []
    levels = _decompositions(codestream)
    if not levels or not has_true_tlm(codestream):
        return []
    counts = [0] * codestream.grid.tiles
    ends, end, before = [], head + codestream.header_length, 0
    for part in codestream.parts:
        # A header of a tile-part may change how the tile is coded.
        if part.number < before or not part.has_empty_header:
            return []
        if part.number > before:
            ends.append(end)
        before = part.number
        counts[part.tile] += 1
        end += part.length
    if len(ends) != levels or any(count != levels + 1 for count in counts):
        return []
    return ends


def _decompositions(codestream: Codestream) -> int:
    """The same for all components, and packets by resolution first; else 0."""
    found = 0
    for marker, body in codestream.segments:
        if marker in (COC, POC):
            return 0
        if marker == COD:
            if body[1] not in _RESOLUTION_FIRST:
                return 0
            found = body[5]
    return found


def frame_checks(pieces: Iterable[bytes], stored_syntax: str, head: int) -> FrameChecks:
    """The checks of a frame that is stored as ``pieces``; ``head`` bytes of it precede its codestream.

    Frames under HTJ2K in RPCL order are always lightwell's own.
    """
    ends: Sequence[int] = ()
    if stored_syntax == HTJ2K_RPCL:
        data = b"".join(pieces)
        ends, pieces = level_ends(data, head), (data,)
    return checks_of(pieces, ends)


def checks_of(pieces: Iterable[bytes], ends: Sequence[int] = ()) -> FrameChecks:
    """The checks of bytes that can be cut at ``ends``, which ascend."""
    levels: list[Prefix] = []
    blocks: list[int] = []
    waiting = list(reversed(ends))
    at = checksum = 0
    pending = False  # whether the bytes so far end at a block, which counts only if more follow
    for piece in pieces:
        view, start = memoryview(piece), 0
        while start < len(view):
            if pending:
                blocks.append(checksum)
            end_of_block = (at // BLOCK + 1) * BLOCK
            stop = min(at + len(view) - start, end_of_block, waiting[-1] if waiting else end_of_block)
            checksum = int(isal_zlib.crc32(view[start : start + stop - at], checksum))
            start, at = start + stop - at, stop
            pending = at % BLOCK == 0
            if waiting and waiting[-1] == at:
                waiting.pop()
                levels.append(Prefix(at, checksum))
    return FrameChecks(checksum, tuple(levels), tuple(blocks))
