"""Whether frames of a log in use are as they were written, without numpy, which servers would keep in memory.

The extension that keeps checksums of pages sums as the log does, and has an SQL function that compares a page
of a power of two bytes with the sum at its end. Zeros in front of a frame change no sum; and since sums are
linear, that of a frame behind another one is its own plus the other one's times a power of a matrix, as
`frame_sums` explains.
"""

from __future__ import annotations

import sqlite3
import struct

from lightwell.stores.page_checksums import vfs
from lightwell.stores.page_checksums.frame_sums import FrameSums

_MASK = 0xFFFFFFFF
_HEAD, _SUMMED, _SUM = 24, 8, 8
_LARGEST = 32768  # so that twice as much is a page, too


class FrameJudge:
    """For frames with pages of one size, whose words are in one order (``<`` or ``>``). To be closed."""

    def __init__(self, page_size: int, order: str) -> None:
        self._conn: sqlite3.Connection | None = None
        if order == ">" or page_size > _LARGEST or vfs.why_unavailable() is not None:
            self._sums = FrameSums(page_size, order)
            return
        self._conn = sqlite3.connect(":memory:", check_same_thread=False)
        self._zeros = bytes(2 * page_size - _SUMMED - page_size - _SUM)
        one, other = 1, 0  # F(-1), F(0)
        for _ in range((_SUMMED + page_size) // 8):
            one, other = (one + other) & _MASK, (one + 2 * other) & _MASK
        self._power = one, other, (one + other) & _MASK

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()

    def continues(self, frame: bytes, seed: tuple[int, int], found: tuple[int, int]) -> bool:
        """Whether ``found`` is the checksum of a frame behind what has the checksum ``seed``."""
        if self._conn is None:
            return found in self._sums.of(frame, [seed])
        a, b, c = self._power
        x, y = seed
        own = (found[0] - a * x - b * y) & _MASK, (found[1] - b * x - c * y) & _MASK
        page = b"".join((self._zeros, frame[:_SUMMED], frame[_HEAD:], struct.pack("<II", *own)))
        return bool(self._conn.execute("SELECT verify_checksum(?)", (page,)).fetchone()[0])
