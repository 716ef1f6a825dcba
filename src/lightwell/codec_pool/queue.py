"""Requests that wait for a codec worker, so many at most, and whose turn it is: callers have shares."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from lightwell.codec_pool.requests import PoolReply, PoolRequest, RequestError

# Each is a few hundred bytes; what it asks for may be a minute's work.
MOST_WAITING = 256
# One caller leaves the rest of the places to others.
MOST_OF_A_CALLER = 128

CLOSED = RequestError("busy", "The server is stopping. Try again in a moment.")
_FULL = RequestError(
    "busy", f"{MOST_WAITING} requests wait for a codec worker already. Try again in a moment."
)


_TOO_MANY = RequestError(
    "busy",
    f"{MOST_OF_A_CALLER} requests of this caller wait for a codec worker already. Try again in a moment.",
)


@dataclass(slots=True, eq=False)
class PendingRequest:
    """A request of ``caller``, an ARN, and how to reply to it; ``until`` is on the monotonic clock.

    ``is_abandoned``: its client has gone. ``failed``: (reason, message) of files that have failed, by place;
    they are not read again. ``deaths``: how many workers have ended on it without being on one of its files.
    """

    request: PoolRequest
    until: float
    reply: Callable[[PoolReply], None]
    caller: str = ""
    is_abandoned: bool = False
    failed: dict[int, tuple[int, str]] = field(default_factory=dict)
    deaths: int = 0


class RequestQueue:
    """For all threads. `finished` has to be called for every request that `take` has returned.

    Callers take turns, and no caller has more than ``most_each`` threads at once, whatever it waits for: the
    slowest files of one leave workers to the others. A thread has a caller until it takes again.
    """

    def __init__(self, most_each: int) -> None:
        self._most_each = most_each
        self._waiting: OrderedDict[str, deque[PendingRequest]] = OrderedDict()
        self._count = 0
        # By thread, whose request it is at.
        self._busy: dict[int, str] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._under_way = 0
        # Threads that wait and have a worker.
        self._with_worker = 0

    def put(self, pending: PendingRequest) -> None:
        """Let a request wait; it is refused at once where too many do, or where the queue is closed."""
        with self._changed:
            own = self._waiting.get(pending.caller, ())
            if not self._closed and self._count < MOST_WAITING and len(own) < MOST_OF_A_CALLER:
                self._waiting.setdefault(pending.caller, deque()).append(pending)
                self._count += 1
                self._changed.notify_all()
                return
            trouble = CLOSED if self._closed else _FULL if self._count >= MOST_WAITING else _TOO_MANY
        pending.reply(trouble)

    def take(self, seconds: float, *, has_worker: bool = True) -> PendingRequest | None:
        """The request whose turn it is and that is still of use; None if there is none for ``seconds``.

        ``has_worker``: the caller has a worker that runs. Others get what those who have one leave.
        """
        end = time.monotonic() + seconds
        thread = threading.get_ident()
        with self._changed:
            if self._busy.pop(thread, None) is not None and self._count:
                self._changed.notify_all()  # its caller may have another again
            while True:
                while self._count and (has_worker or self._count > self._with_worker):
                    pending = self._next()
                    if pending is None:
                        break
                    if not pending.is_abandoned and pending.until > time.monotonic():
                        self._under_way += 1
                        self._busy[thread] = pending.caller
                        return pending
                left = end - time.monotonic()
                if left <= 0 or self._closed:
                    return None
                self._with_worker += has_worker
                try:
                    self._changed.wait(left)
                finally:
                    self._with_worker -= has_worker

    def _next(self) -> PendingRequest | None:
        """The oldest of the next caller that may have one; with the lock."""
        has = Counter(self._busy.values())
        for caller, waiting in self._waiting.items():
            if has[caller] < self._most_each:
                pending = waiting.popleft()
                self._count -= 1
                if waiting:
                    self._waiting.move_to_end(caller)
                else:
                    del self._waiting[caller]
                return pending
        return None

    @property
    def is_closed(self) -> bool:
        """Whether `take` will never return a request again."""
        return self._closed and not self._count

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
            while (self._count or self._under_way) and time.monotonic() < end:
                self._changed.wait(end - time.monotonic())
            rest = [pending for waiting in self._waiting.values() for pending in waiting]
            self._waiting.clear()
            self._count = 0
        for pending in rest:
            pending.reply(CLOSED)
