"""Errors in compiled code that cannot raise them: Python prints "Exception ignored in …" and continues.

imagecodecs 2026.3.6 (OpenJPH 0.26.3) loses errors within a frame in this way and returns a partial frame.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_thread = threading.local()
_lock = threading.Lock()
_users = 0
_previous_hook: Callable[[Any], object] = sys.unraisablehook


@contextmanager
def collect_unraisable() -> Iterator[list[str]]:
    """The unraisable errors of imagecodecs in this thread, as texts; they are not printed."""
    global _users, _previous_hook
    errors: list[str] = []
    with _lock:
        if not _users:
            _previous_hook, sys.unraisablehook = sys.unraisablehook, _hook
        _users += 1
    _thread.errors = errors
    try:
        yield errors
    finally:
        _thread.errors = None
        with _lock:
            _users -= 1
            if not _users and sys.unraisablehook is _hook:
                sys.unraisablehook = _previous_hook


def _hook(unraisable: Any) -> None:
    errors = getattr(_thread, "errors", None)
    if errors is None or not str(unraisable.object).startswith("imagecodecs"):
        _previous_hook(unraisable)
    else:
        # Only the text: a reference would keep the error alive (sys.unraisablehook).
        errors.append(f"{unraisable.exc_value or unraisable.exc_type.__name__}")
