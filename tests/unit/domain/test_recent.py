"""What was looked up holds for a moment: short enough for the promises that are made about changes."""

from __future__ import annotations

from lightwell.domain.recent import FRESH_MS, Recent


def test_forgets_in_time_for_what_is_promised() -> None:
    assert FRESH_MS < 1_000, "a revoked key is refused within a second"
    assert 2 * FRESH_MS < 2_000, "what rests on two look-ups changes within two"


def test_holds_a_value_for_its_time_only() -> None:
    recent: Recent[str, int] = Recent(2, 100)
    recent.put("a", 1, 1000)
    assert [recent.get("a", now) for now in (1000, 1099, 1100, 999)] == [1, 1, None, None]
    assert recent.get("b", 1000) is None
    recent.drop("a")
    recent.drop("a")
    assert recent.get("a", 1000) is None


def test_holds_no_more_than_it_may() -> None:
    recent: Recent[int, int] = Recent(2, 100)
    for number in range(5):
        recent.put(number, number, 0)
        assert len(recent) <= 2 and recent.get(number, 0) == number


def test_keeps_nothing_that_is_to_hold_for_no_time() -> None:
    recent: Recent[int, int] = Recent(2, 0)
    recent.put(1, 1, 0)
    assert recent.get(1, 0) is None
