"""What this process asks of the C library's memory: mallopt(3), where there is one. Standard library only."""

from __future__ import annotations

import ctypes
from typing import Final

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
_KEPT: Final = 16 << 20


def keep_freed() -> None:
    """Keep what is freed, up to some megabytes.

    For arrays that come and go, each of which would be mapped and unmapped otherwise.
    """
    _ask((_MMAP_THRESHOLD, _KEPT), (_TRIM_THRESHOLD, 2 * _KEPT), (_TOP_PAD, 1 << 20))


def share_one_arena() -> None:
    """Have all threads allocate from one place, also in processes that are forked from this one.

    Otherwise each thread gets one of its own, which stays as large as it ever was, though most of them seldom
    have anything to do at the same time.
    """
    _ask((_ARENA_MAX, 1))


def _ask(*options: tuple[int, int]) -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for option, value in options:
            libc.mallopt(option, value)
