"""How the checksums of stored bytes are packed."""

from __future__ import annotations

import struct

import pytest

from lightwell.domain.image_sets.frame_checks import (
    BLOCK,
    FrameChecks,
    Prefix,
    block_count,
    checksum_at,
    levels_at,
    pack_checks,
    unpack_checks,
)


def test_gives_back_what_it_was_given() -> None:
    frames = [
        FrameChecks(1, (Prefix(10, 11), Prefix(20, 21))),
        FrameChecks((1 << 32) - 1, (), (5, 6)),
        FrameChecks(3, (Prefix(7, 0),)),
        FrameChecks(4, (), (8,)),
    ]
    lengths = [30, 3 * BLOCK, 9, BLOCK + 1]
    packed = pack_checks(frames)
    assert unpack_checks(packed, lengths) == frames
    assert [checksum_at(packed, index) for index in range(4)] == [each.checksum for each in frames]
    assert levels_at(packed, 0) == frames[0].levels
    with pytest.raises(struct.error):
        unpack_checks(packed[:-1], lengths)
    with pytest.raises(struct.error):
        checksum_at(packed, 99)


def test_takes_few_bytes() -> None:
    levels = tuple(Prefix(n, n) for n in (1, 2, 3))
    assert len(pack_checks([FrameChecks(1, levels)] * 256)) == 1 + 256 * 28
    assert len(pack_checks([FrameChecks(1)] * 256)) == 1 + 256 * 4
    assert [block_count(length) for length in (0, 1, BLOCK, BLOCK + 1, 2 * BLOCK)] == [0, 0, 0, 1, 1]


def test_leaves_out_levels_that_do_not_fit() -> None:
    (found,) = unpack_checks(pack_checks([FrameChecks(1, (Prefix(1 << 32, 2),))]), [5])
    assert found == FrameChecks(1)
