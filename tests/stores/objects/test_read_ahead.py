"""How far is read ahead."""

from __future__ import annotations

from lightwell.stores.objects.read_ahead import ReadAhead


def test_windows_grow_while_an_object_is_read_on_and_shrink_at_jumps() -> None:
    now = [0.0]
    ahead = ReadAhead(32, lambda: now[0])
    assert ahead.onward("a") is None
    assert ahead.window("a", 0, 1) == 4  # what begins an object may be a series
    assert ahead.window("a", 5, 6) == 8
    assert ahead.window("a", 14, 15) == 16
    assert ahead.window("a", 500, 501) == 8
    assert ahead.window("a", 900, 901) == 4
    assert ahead.onward("a") == (905, 32)
    assert ahead.onward("a") == (937, 32)

    assert ahead.window("b", 77, 78) == 0  # one frame from the middle is just that
    assert ahead.window("b", 78, 79) == 4
    now[0] = 11.0
    assert ahead.window("b", 83, 84) == 0
    ahead.forget("a")
    assert ahead.onward("a") is None
