import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from lightwell.imaging.pixels.unraisable_errors import collect_unraisable


def lost(where: str, text: str) -> Any:
    return SimpleNamespace(object=where, exc_type=ValueError, exc_value=ValueError(text) if text else None)


def test_hears_what_imagecodecs_swallows_in_this_thread_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    outside: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", outside.append)
    others = [lost("imagecodecs._htj2k.f", "of another thread"), lost("<function f>", "of another library")]
    with collect_unraisable() as heard:
        sys.unraisablehook(lost("imagecodecs._htj2k.f", "mine"))
        sys.unraisablehook(lost("imagecodecs._htj2k.f", ""))
        thread = threading.Thread(target=sys.unraisablehook, args=(others[0],))
        thread.start()
        thread.join()
        sys.unraisablehook(others[1])
    assert heard == ["mine", "ValueError"]
    assert outside == others
    assert sys.unraisablehook == outside.append


def test_leaves_the_hook_as_it_was_when_the_last_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    outside: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", outside.append)
    begun, end = threading.Event(), threading.Event()

    def longer() -> None:
        with collect_unraisable():
            begun.set()
            end.wait(60)

    thread = threading.Thread(target=longer)
    with collect_unraisable():
        thread.start()
        assert begun.wait(60)
    sys.unraisablehook(mine := lost("imagecodecs._htj2k.f", "of nobody who decodes"))
    end.set()
    thread.join()
    assert outside == [mine]
    assert sys.unraisablehook == outside.append
