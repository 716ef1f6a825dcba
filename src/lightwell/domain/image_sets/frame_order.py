"""Which of many frames are asked for, and in which order: positions in a list of frames, counted from 1."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

_RANGE = re.compile(r"([0-9]{1,9})(-([0-9]{1,9})?)?")
_MOST_RANGES = 10_000


class BadSelectionError(ValueError):
    """Not a list of positions; says why."""


class NoSuchPositionError(ValueError):
    """A position at which there is no frame; says which."""


@dataclass(frozen=True, slots=True)
class Positions:
    """Positions from 1, in the order in which they are asked for, none of them twice.

    A list of a million takes no more room than its text: they are kept as ranges.
    """

    ranges: tuple[range, ...]
    ends: tuple[int, ...]

    @classmethod
    def of(cls, ranges: Sequence[range]) -> Positions:
        return cls(tuple(ranges), tuple(accumulate(map(len, ranges))))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, index: int) -> int:
        at = bisect_right(self.ends, index)
        return self.ranges[at][index - (self.ends[at - 1] if at else 0)]

    def index(self, position: int) -> int | None:
        """The place of a position among them, from 0; None if it is not one of them."""
        for each, end in zip(self.ranges, self.ends, strict=True):
            if position in each:
                return end - len(each) + each.index(position)
        return None

    def outwards(self, first: int) -> Iterator[int]:
        """All of them, from place ``first`` on, then its neighbours on both sides, the next one first."""
        yield self[first]
        for distance in range(1, max(first, len(self) - 1 - first) + 1):
            if first + distance < len(self):
                yield self[first + distance]
            if first >= distance:
                yield self[first - distance]

    def __iter__(self) -> Iterator[int]:
        for each in self.ranges:
            yield from each


def positions(text: str | None, count: int) -> Positions:
    """What a list such as ``1-64,100,200-`` names of ``count`` frames; all without one.

    A range may end behind the last frame, where it ends too, but not begin there. Raises `BadSelectionError`
    or `NoSuchPositionError`.
    """
    if text is None:
        return Positions.of([range(1, count + 1)])
    found: list[range] = []
    items = text.split(",")
    if len(items) > _MOST_RANGES:
        raise BadSelectionError(f"The list of frames has more than {_MOST_RANGES} numbers and ranges.")
    for item in items:
        match = _RANGE.fullmatch(item)
        if match is None:
            raise BadSelectionError(
                f"{item[:40]!r} is not a frame or a range of them: write 7, 1-64 or 65-, separated by commas."
            )
        first = int(match[1])
        last = first if match[2] is None else count if match[3] is None else int(match[3])
        if not first:
            raise BadSelectionError("Frames are counted from 1, so there is no frame 0.")
        if first > count:
            raise NoSuchPositionError(f"There are {count} frames; there is no frame {first}.")
        if last < first:
            raise BadSelectionError(f"The range {item[:40]!r} ends before it begins.")
        found.append(range(first, min(last, count) + 1))
    in_order = sorted(found, key=lambda each: each.start)
    for before, after in pairwise(in_order):
        if after.start < before.stop:
            raise BadSelectionError(f"Frame {after.start} is listed more than once: list each frame once.")
    return Positions.of(found)
