"""Requests that wait for a codec worker, so many at most."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from lightwell.codec_pool.requests import PoolReply, PoolRequest, RequestError

# Each is a few hundred bytes; what it asks for may be a minute's work.
MOST_WAITING = 256

CLOSED = RequestError("busy", "The server is stopping. Try again in a moment.")
_FULL = RequestError(
    "busy", f"{MOST_WAITING} requests wait for a codec worker already. Try again in a moment."
)


@dataclass(slots=True, eq=False)
class PendingRequest:
    """A request and how to reply to it; ``until`` is on the monotonic clock.

    ``is_abandoned``: its client has gone. ``failed``: (reason, message) of files that have failed, by place;
    they are not read again. ``deaths``: how many workers have ended on it without being on one of its files.
    """

    request: PoolRequest
    until: float
    reply: Callable[[PoolReply], None]
    is_abandoned: bool = False
    failed: dict[int, tuple[int, str]] = field(default_factory=dict)
    deaths: int = 0


class RequestQueue:
    """For all threads. `finished` has to be called for every request that `take` has returned."""

    def __init__(self) -> None:
        self._waiting: deque[PendingRequest] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._under_way = 0
        # Threads that wait and have a worker.
        self._with_worker = 0

    def put(self, pending: PendingRequest) -> None:
        """Let a request wait; it is refused at once where too many do, or where the queue is closed."""
        with self._changed:
            if not self._closed and len(self._waiting) < MOST_WAITING:
                self._waiting.append(pending)
                self._changed.notify_all()
                return
            trouble = CLOSED if self._closed else _FULL
        pending.reply(trouble)

    def take(self, seconds: float, *, has_worker: bool = True) -> PendingRequest | None:
        """The request that has waited longest and is still of use; None if there is none for ``seconds``.

        ``has_worker``: the caller has a worker that runs. Others get what those who have one leave.
        """
        end = time.monotonic() + seconds
        with self._changed:
            while True:
                while self._waiting and (has_worker or len(self._waiting) > self._with_worker):
                    pending = self._waiting.popleft()
                    if not pending.is_abandoned and pending.until > time.monotonic():
                        self._under_way += 1
                        return pending
                left = end - time.monotonic()
                if left <= 0 or self._closed:
                    return None
                self._with_worker += has_worker
                try:
                    self._changed.wait(left)
                finally:
                    self._with_worker -= has_worker

    @property
    def is_closed(self) -> bool:
        """Whether `take` will never return a request again."""
        return self._closed and not self._waiting

    def finished(self) -> None:
        """A request that was taken has been answered."""
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    def close(self, seconds: float) -> None:
        """Accept no more; let those that wait be served, for ``seconds`` at most, and refuse the rest."""
        end = time.monotonic() + seconds
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            while (self._waiting or self._under_way) and time.monotonic() < end:
                self._changed.wait(end - time.monotonic())
            rest = list(self._waiting)
            self._waiting.clear()
        for pending in rest:
            pending.reply(CLOSED)
