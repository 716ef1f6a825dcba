"""Errors that compiled code meets where it cannot raise: Python prints "Exception ignored in …" and goes on.

imagecodecs 2026.3.6 (OpenJPH 0.26.3) loses errors in the middle of a frame so, and returns what it has.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_here = threading.local()
_lock = threading.Lock()
_users = 0
_before: Callable[[Any], object] = sys.unraisablehook


@contextmanager
def swallowed() -> Iterator[list[str]]:
    """What imagecodecs swallows in this thread meanwhile; nothing of it is printed."""
    global _users, _before
    heard: list[str] = []
    with _lock:
        if not _users:
            _before, sys.unraisablehook = sys.unraisablehook, _hear
        _users += 1
    _here.heard = heard
    try:
        yield heard
    finally:
        _here.heard = None
        with _lock:
            _users -= 1
            if not _users and sys.unraisablehook is _hear:
                sys.unraisablehook = _before


def _hear(unraisable: Any) -> None:
    heard = getattr(_here, "heard", None)
    if heard is None or not str(unraisable.object).startswith("imagecodecs"):
        _before(unraisable)
    else:
        # Only its text: the error itself would be kept alive (sys.unraisablehook).
        heard.append(f"{unraisable.exc_value or unraisable.exc_type.__name__}")
