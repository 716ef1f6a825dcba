"""Which frames are asked for, and in which order."""

from __future__ import annotations

import pytest

from lightwell.domain.image_sets.frame_order import (
    BadSelectionError,
    NoSuchPositionError,
    Positions,
    positions,
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, [1, 2, 3, 4, 5]),
        ("2", [2]),
        ("4-,1-2", [4, 5, 1, 2]),
        ("5-9", [5]),
        ("3-3,2", [3, 2]),
    ],
)
def test_reads_a_list(text: str | None, found: list[int]) -> None:
    chosen = positions(text, 5)
    assert list(chosen) == found == [chosen[index] for index in range(len(chosen))]
    assert [chosen.index(position) for position in found] == list(range(len(found)))
    assert chosen.index(6) is None


@pytest.mark.parametrize("text", ["", "0", "a", "1,", "-1", "1--2", "2-1", "1,1", "1-3,3", "٣", "1" * 10])
def test_refuses_what_is_no_list(text: str) -> None:
    with pytest.raises(BadSelectionError):
        positions(text, 5)
    with pytest.raises(BadSelectionError, match="more than"):
        positions("1," * 10_001, 5)


def test_refuses_what_is_not_there() -> None:
    for text in ("6", "6-", "1,6-7"):
        with pytest.raises(NoSuchPositionError, match="no frame 6"):
            positions(text, 5)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_goes_outwards_through_all_of_them(count: int) -> None:
    chosen = positions(None, count)
    for first in range(count):
        found = list(chosen.outwards(first))
        assert sorted(found) == list(chosen) and found[0] == first + 1
        distances = [abs(position - first - 1) for position in found]
        assert distances == sorted(distances)


def test_takes_no_room_for_a_million() -> None:
    chosen = positions("1-1000000", 1_000_000)
    assert len(chosen) == 1_000_000 and chosen[999_999] == 1_000_000
    assert len(Positions.of([])) == 0
