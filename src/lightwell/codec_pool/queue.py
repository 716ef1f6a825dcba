"""The desk: direct orders that wait for a codec worker, so many at most."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from lightwell.codec_pool.requests import PoolReply, PoolRequest, RequestError

# Each is a few hundred bytes; what it asks for may be a minute's work.
MOST_WAITING = 256

_CLOSED = RequestError("busy", "The server is stopping. Try again in a moment.")
_FULL = RequestError(
    "busy", f"{MOST_WAITING} requests wait for a codec worker already. Try again in a moment."
)


@dataclass(slots=True, eq=False)
class PendingRequest:
    """An order, with who waits for its answer; ``until`` is on the monotonic clock.

    ``failed``: what is settled of its files, by place; they are not read again. ``deaths``: how many workers
    ended on it without being on one of its files.
    """

    order: PoolRequest
    until: float
    reply: Callable[[PoolReply], None]
    is_gone: bool = False
    failed: dict[int, tuple[int, str]] = field(default_factory=dict)
    deaths: int = 0


class RequestQueue:
    """For all threads. `finished` has to be called for every errand that `take` has given."""

    def __init__(self) -> None:
        self._waiting: deque[PendingRequest] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._under_way = 0
        # Threads that wait with a worker in hand.
        self._warm = 0

    def put(self, errand: PendingRequest) -> None:
        """Let an errand wait; it is answered at once where too many do, or where the desk is closed."""
        with self._changed:
            if not self._closed and len(self._waiting) < MOST_WAITING:
                self._waiting.append(errand)
                self._changed.notify_all()
                return
            trouble = _CLOSED if self._closed else _FULL
        errand.reply(trouble)

    def take(self, seconds: float, *, warm: bool = True) -> PendingRequest | None:
        """The errand that has waited longest and is still of use; None if there is none for ``seconds``.

        ``warm``: who asks has a worker that runs. Others get what those who have one leave.
        """
        end = time.monotonic() + seconds
        with self._changed:
            while True:
                while self._waiting and (warm or len(self._waiting) > self._warm):
                    errand = self._waiting.popleft()
                    if not errand.is_gone and errand.until > time.monotonic():
                        self._under_way += 1
                        return errand
                left = end - time.monotonic()
                if left <= 0 or self._closed:
                    return None
                self._warm += warm
                try:
                    self._changed.wait(left)
                finally:
                    self._warm -= warm

    @property
    def is_closed(self) -> bool:
        """Whether `take` gives nothing any more."""
        return self._closed and not self._waiting

    def finished(self) -> None:
        """An errand that was taken has been answered."""
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    def close(self, seconds: float) -> None:
        """Take no more; let what waits be done, for ``seconds`` at most, and answer the rest."""
        end = time.monotonic() + seconds
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            while (self._waiting or self._under_way) and time.monotonic() < end:
                self._changed.wait(end - time.monotonic())
            rest = list(self._waiting)
            self._waiting.clear()
        for errand in rest:
            errand.reply(_CLOSED)
