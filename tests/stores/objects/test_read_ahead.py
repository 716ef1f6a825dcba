"""How far is read ahead."""

from __future__ import annotations

from lightwell.stores.objects.block_cache import BLOCK
from lightwell.stores.objects.read_ahead import WINDOW, ReadAhead

MIB = 1 << 20


def test_more_comes_the_steadier_an_object_is_read_and_less_after_jumps() -> None:
    now = [0.0]
    ahead = ReadAhead(5, lambda: now[0])
    ahead.learn("a", 400 * MIB)
    assert ahead.missed("a", 0, 1) == 5  # what begins an object may be a series
    assert ahead.windows("a") == [] and ahead.turn("a") is None
    ahead.read("a", 2)
    assert ahead.windows("a") == [("a", 0), ("a", 1)]
    assert ahead.turn("a") == ("a", 1)
    for _ in range(9):
        ahead.read("a", WINDOW)
    assert ahead.windows("a") == [("a", number) for number in range(1, 6)]
    # Now to and fro: what was asked for alone.
    for block, windows in ((50 * WINDOW, 2), (10 * WINDOW, 1), (80 * WINDOW, 0), (30 * WINDOW, 0)):
        ahead.read("a", block)
        assert len(ahead.windows("a")) == windows
    assert ahead.missed("a", 60 * WINDOW + 3, 60 * WINDOW + 5) == 60 * WINDOW + 5

    ahead.learn("b", 100 * BLOCK)
    assert ahead.missed("b", 77, 78) == 78  # one frame from the middle is just that
    assert ahead.missed("b", 70, 71) == 80  # with another one near by comes the rest of the window
    assert ahead.windows("b") == [("b", 4)]
    assert ahead.missed("b", 97, 98) == 100  # no more than there is
    now[0] = 11.0
    assert ahead.missed("b", 83, 84) == 84
    ahead.forget("a")
    assert ahead.windows("a") == [] and ahead.size("a") is None


def test_goes_on_over_the_borders_of_objects_that_follow_one_another() -> None:
    ahead = ReadAhead(4)
    ahead.follow([("a", 5 * MIB), ("b", 4 * MIB), ("c", 20 * MIB)])
    ahead.missed("a", 0, 1)
    for _ in range(3):
        ahead.read("a", 1)
    assert ahead.windows("a") == [("a", 0), ("a", 1), ("b", 0), ("c", 0)]
    ahead.read("a", WINDOW)
    assert ahead.turn("a") == ("b", 0)
    ahead.read("b", 0)  # as steadily as the one before
    assert ahead.windows("b") == [("b", 0), ("c", 0), ("c", 1), ("c", 2)]
    ahead.forget("b")
    assert ahead.windows("a") == [("a", 1)]


def test_objects_that_follow_one_another_in_a_circle_end() -> None:
    ahead = ReadAhead(4)
    ahead.follow([("a", 0), ("b", 0), ("a", 0)])
    ahead.read("a", 0)
    ahead.read("a", 0)
    assert ahead.windows("a") == []
