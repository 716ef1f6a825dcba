"""CRC-32 of the stored bytes of frames: of all of them, and of what stands before the end of a resolution.

Beside each row of the frame table (`domain.image_sets.frame_table`) is a row of checks, all little-endian::

    n, the number of resolution levels that are less than the whole (u8)
    for each frame: the CRC-32 of all its bytes (u32)
                    n times: bytes before the end of level 0, 1, ... (u32), and their CRC-32 (u32)
    for each frame longer than BLOCK: the CRC-32 of its first BLOCK bytes, of its first 2 BLOCK, ... (u32)

All of them are of bytes from the beginning of the frame, boxes included, so that any range between two of
them can be checked, too: the CRC-32 of its bytes, continued from that of what comes before, has to be that of
the end. A level that a frame does not have takes zeros. A slice of 512 x 512 takes 28 bytes, a tile of
256 x 256 takes 20, a frame in another syntax four.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

BLOCK = 1 << 20
"""Of a frame that is longer, every range between two multiples of it can be checked without the rest."""

_U32 = struct.Struct("<I")
_LEVEL = struct.Struct("<II")
_LARGEST = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first ``length`` bytes of a stored frame, and their CRC-32."""

    length: int
    checksum: int


@dataclass(frozen=True, slots=True)
class FrameChecks:
    """What proves the stored bytes of one frame.

    ``levels`` are the resolution levels below the full one, from the smallest; empty where the frame cannot
    be cut. ``blocks`` are the checksums of the first 1, 2, ... `BLOCK` bytes, short of the whole.
    """

    checksum: int
    levels: tuple[Prefix, ...] = ()
    blocks: tuple[int, ...] = ()


def block_count(length: int) -> int:
    """How many checksums `FrameChecks.blocks` has for a frame of ``length`` bytes."""
    return max(0, length - 1) // BLOCK


def pack_checks(frames: Sequence[FrameChecks]) -> bytes:
    """The checks of one row of the frame table."""
    frames = [each if _fits(each) else FrameChecks(each.checksum, (), each.blocks) for each in frames]
    count = max([len(each.levels) for each in frames], default=0)
    packed = [bytes((count,))]
    for each in frames:
        packed.append(_U32.pack(each.checksum))
        packed += [_LEVEL.pack(level.length, level.checksum) for level in each.levels]
        packed.append(bytes(_LEVEL.size * (count - len(each.levels))))
    packed += [_U32.pack(checksum) for each in frames for checksum in each.blocks]
    return b"".join(packed)


def _fits(each: FrameChecks) -> bool:
    return len(each.levels) < 256 and all(0 < level.length <= _LARGEST for level in each.levels)


def checksum_at(checks: bytes, index: int) -> int:
    """CRC-32 of all stored bytes of the frame at place ``index`` of its row.

    Raises struct.error where the row is shorter.
    """
    found: int = _U32.unpack_from(checks, 1 + index * (_U32.size + _LEVEL.size * checks[0]))[0]
    return found


def levels_at(checks: bytes, index: int) -> tuple[Prefix, ...]:
    """The resolution levels below the full one of a frame, see `FrameChecks`."""
    count = checks[0]
    start = 1 + index * (_U32.size + _LEVEL.size * count) + _U32.size
    places = range(start, start + _LEVEL.size * count, _LEVEL.size)
    found = [Prefix(*_LEVEL.unpack_from(checks, place)) for place in places]
    return tuple(level for level in found if level.length)


def blocks_at(checks: bytes, lengths: Sequence[int], index: int) -> tuple[int, ...]:
    """The checksums of the blocks of a frame; ``lengths`` are those of all frames of the row."""
    start = 1 + len(lengths) * (_U32.size + _LEVEL.size * checks[0])
    start += _U32.size * sum(block_count(length) for length in lengths[:index])
    return struct.unpack_from(f"<{block_count(lengths[index])}I", checks, start)


def row_size(checks: bytes, lengths: Sequence[int]) -> int:
    """How many bytes a row that begins like ``checks`` has for frames of these lengths."""
    of_frames = len(lengths) * (_U32.size + _LEVEL.size * checks[0]) if checks else 0
    return 1 + of_frames + _U32.size * sum(map(block_count, lengths))


def unpack_checks(checks: bytes, lengths: Sequence[int]) -> list[FrameChecks]:
    """The checks of all frames of a row. Raises struct.error where it is too short for them."""
    return [
        FrameChecks(checksum_at(checks, index), levels_at(checks, index), blocks_at(checks, lengths, index))
        for index in range(len(lengths))
    ]
