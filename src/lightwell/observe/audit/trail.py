"""The audit trail of one process: records wait in a bounded queue for one thread, which appends them to a
chain.

Nobody who puts a record waits for a disk. Whoever must know that it is kept awaits `AuditTrail.durable`. When
the chain cannot be written, or the queue is full, `AuditTrail.has_room` says so, and whoever is about to do
what would have to be recorded asks it first. So the trail fails closed unless it is told to go on without
records (``refuses``); then it counts what is lost, and says so in the chain as soon as it can.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Lock, Thread
from time import monotonic
from typing import Final, Protocol

from lightwell.errors import LightwellError, UnavailableError
from lightwell.observe.audit.record import AnyRecord, AuditRecord, Unmade

log = logging.getLogger(__name__)

LOST: Final = "AuditLost"
"""What a record does that tells how many others are missing."""

# Records that wait, and members of their lists; requests that had room already may put as many again.
MOST_WAITING: Final = 8_192
MOST_MEMBERS: Final = 65_536
# A block, so that encoding one holds the interpreter for a fraction of a millisecond only.
BATCH: Final = 512
# Seconds: how long the thread gathers what it writes at once, how often it makes that durable, and how soon
# it tries again what has failed. Each write takes the interpreter from the requests, and the memory of their
# records from the processor's caches: a record costs a third less with 0.1 than with 0.03, and a little less
# with 0.2.
GATHER: Final = 0.2
SYNC: Final = 0.5
RETRY: Final = 0.5
# How long a request waits for room, and for its record to be durable.
_ROOM_SECONDS, _ROOM_POLL = 1.0, 0.05
_DURABLE_SECONDS = 10.0

# Of what the thread tries in vain, so that a disk that is full or slow costs no processor.
_TRYING = 0.1

_FULL = (
    "The server cannot write its audit trail at the moment, and does nothing that it cannot record. Try "
    "again later. Its log and /readyz say what is wrong."
)
_NOT_DURABLE = (
    "The server could not write its audit trail, so it does not answer; what was asked for may have been "
    "done. Its log and /readyz say what is wrong."
)


class AppendOnly(Protocol):
    """What the thread writes to."""

    def append(self, records: Sequence[AnyRecord]) -> None:
        """Append all of the records, or raise `OSError` and have none of them."""

    def sync(self) -> None:
        """Make what was appended durable. After an `OSError` the next call tries again, on another file."""

    def close(self) -> None:
        """Nothing is appended any more."""


def pause_after(seconds: float) -> float:
    """How long to wait after an attempt that took so long and failed."""
    return max(RETRY, seconds / _TRYING - seconds)


@dataclass(frozen=True, slots=True)
class TrailOptions:
    """``writer``: its chain. ``refuses``: without room, nothing may be done; otherwise records are lost, and
    counted.

    ``is_sync``: no answer is sent before its record is durable. ``count`` and ``measure`` are those of
    `observe.metrics.Recorder`, and ``process`` is the value of the gauge's label.
    """

    writer: str = ""
    refuses: bool = True
    is_sync: bool = False
    process: str = "http"
    count: Callable[[str, str, int], None] = lambda counter, value, by: None
    measure: Callable[[str, str, float], None] = lambda gauge, value, number: None


class _Durable:
    """Stands in the queue behind the records that somebody wants to be durable.

    Who is patient is told once that is so, however long it takes, and never that it is not.
    """

    __slots__ = ("is_patient", "tell")

    def __init__(self, tell: Callable[[bool], None], *, is_patient: bool = False) -> None:
        self.tell = tell
        self.is_patient = is_patient


class AuditTrail:
    """The records of one process on their way into its chain. All methods may be called from any thread.

    Made after the process was forked; ``open_chain`` raises `OSError` while the chain cannot be opened.
    ``now`` is the time in milliseconds.
    """

    def __init__(
        self,
        open_chain: Callable[[], AppendOnly],
        now: Callable[[], int],
        options: TrailOptions = TrailOptions(),
    ) -> None:
        self.is_sync = options.is_sync
        self.writer = options.writer
        self._open_chain = open_chain
        self._now = now
        self._options = options
        self._refuses = options.refuses
        # What has room may find none left: it is done by now, and must be recorded all the same.
        self._limit = 2 * MOST_WAITING if options.refuses else MOST_WAITING
        self._queue: deque[AnyRecord | Unmade | _Durable] = deque()
        self._lock = Lock()
        self._members = 0
        self._lost = _Lost()
        self._failed_at: float | None = None
        self._failed_since = 0
        self._failure: str | None = None
        self._is_idle = False
        self._wake, self._hurry, self._closing = Event(), Event(), Event()
        # The rest belongs to the thread.
        self._chain: AppendOnly | None = None
        self._pending: list[AnyRecord | Unmade] = []
        self._waiting: list[_Durable] = []
        self._patient: list[_Durable] = []
        self._is_dirty = False
        self._sync_due = 0.0
        self._thread = Thread(target=self._run, name="audit-trail", daemon=True)

    def begin(self) -> None:
        """Open the chain and write what is put; as often as it takes, if that fails."""
        self._options.measure("lightwell_audit_stopped", self._options.process, 0)
        self._thread.start()

    def has_room(self) -> bool:
        """Whether something that will put a record may be done."""
        # `may_wait` is not called, since each request asks for this.
        return not self._refuses or (
            self._failed_at is None and len(self._queue) < MOST_WAITING and self._members < MOST_MEMBERS
        )

    def may_wait(self) -> bool:
        """Whether a record may be put that waits in memory, should the trail not be written at the moment."""
        return not self._refuses or (len(self._queue) < MOST_WAITING and self._members < MOST_MEMBERS)

    async def room(self) -> None:
        """Wait a moment for `has_room`. Raises `UnavailableError`."""
        until = monotonic() + _ROOM_SECONDS
        while not self.has_room():
            if monotonic() >= until or self._has_failed_for(_ROOM_SECONDS):
                raise UnavailableError(_FULL)
            await asyncio.sleep(_ROOM_POLL)

    def put(self, record: AnyRecord | Unmade) -> bool:
        """Hand over a record, which belongs to the trail from now on. Never waits and never fails.

        One that is unmade is made by the thread of the trail, which takes less than between the steps of a
        request. False if there is no room for it, and it is only counted.
        """
        queue = self._queue
        if len(queue) >= self._limit or self._members >= 2 * MOST_MEMBERS:
            self._lose(record)
            return False
        # Of a frame there are no lists.
        if type(record) is AuditRecord and (record.patients or record.image_sets or record.items):
            with self._lock:
                self._members += _members(record)
            if self._members >= MOST_MEMBERS // 4:
                self._hurry.set()
        queue.append(record)
        if self._is_idle:
            self._is_idle = False
            self._wake.set()
        return True

    def keep(self, record: AnyRecord, seconds: float = _DURABLE_SECONDS) -> None:
        """Put a record and wait until it is on the disk. Raises `UnavailableError` if it is not.

        That goes for a trail that does not refuse, too: for what must not be done without its record.
        """
        if not (self.put(record) and self._is_kept(seconds)):
            raise UnavailableError(_NOT_DURABLE)

    async def durable(self) -> None:
        """Wait until all records put before are on the disk. Raises `UnavailableError` if they will not be.

        Where the trail does not refuse, it returns all the same.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()

        def settle(is_kept: bool) -> None:
            if not future.done():
                future.set_result(is_kept)

        def tell(is_kept: bool) -> None:
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(settle, is_kept)

        self._ask(tell)
        timer = loop.call_later(_DURABLE_SECONDS, settle, False)
        try:
            is_kept = await future
        finally:
            timer.cancel()
        if self._refuses and not is_kept:
            raise UnavailableError(_NOT_DURABLE)

    def flush(self, seconds: float = _DURABLE_SECONDS) -> bool:
        """`durable` for threads; whether the records are on the disk."""
        is_kept = self._is_kept(seconds)
        if not is_kept and self._refuses:
            raise UnavailableError(_NOT_DURABLE)
        return is_kept

    def _is_kept(self, seconds: float) -> bool:
        """Wait until all records put before are on the disk; False if they are not by then."""
        told, kept = Event(), []

        def tell(is_kept: bool) -> None:
            kept.append(is_kept)
            told.set()

        self._ask(tell)
        return told.wait(seconds) and kept[0]

    def tell_when_kept(self, tell: Callable[[], None]) -> None:
        """Call ``tell``, in the thread of the trail, once all records put before are on the disk.

        Nothing is hurried for it; where it is never so, it is never called.
        """
        self._queue.append(_Durable(lambda is_kept: tell(), is_patient=True))
        if self._is_idle:
            self._is_idle = False
            self._wake.set()

    def failure(self) -> str | None:
        """Why records cannot be written at the moment; None if they can."""
        if self._failure is not None:
            return self._failure
        if len(self._queue) >= MOST_WAITING or self._members >= MOST_MEMBERS:
            return "more records wait than may, since the disk is too slow"
        return None

    def close(self, seconds: float = 5.0) -> None:
        """Write and sync what was put, and stop; what the disk does not take within ``seconds`` is lost."""
        self._closing.set()
        self._hurry.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)
        if left := len(self._pending) + sum(not isinstance(item, _Durable) for item in self._queue):
            log.error("%s records of the audit trail could not be written and are lost", left)

    def _ask(self, tell: Callable[[bool], None]) -> None:
        if self._failed_at is not None or not self._thread.is_alive():
            tell(False)
            return
        self._queue.append(_Durable(tell))
        self._hurry.set()
        self._wake.set()

    def _has_failed_for(self, seconds: float) -> bool:
        failed_at = self._failed_at
        return failed_at is not None and monotonic() - failed_at >= seconds

    def _lose(self, record: AnyRecord | Unmade) -> None:
        with self._lock:
            self._lost.add(record.at)
        self._options.count("lightwell_audit_records_total", "lost", 1)

    # The thread.

    def _run(self) -> None:
        while True:
            self._rest()
            is_closing = self._closing.is_set()
            self._hurry.clear()
            begun = monotonic()
            try:
                self._write(is_closing)
            except Exception as error:
                self._fail(error)
                if is_closing:
                    break
                self._closing.wait(pause_after(monotonic() - begun))
            else:
                if is_closing and not self._queue and not self._lost.count:
                    break
        if self._chain is not None:
            with suppress(OSError):
                self._chain.close()

    def _rest(self) -> None:
        """Sleep until there is something to do, and then gather more of it."""
        if not self._queue and not self._pending and not self._lost.count and self._chain is not None:
            self._is_idle = True
            # What was put before the flag was set did not wake anyone.
            if not self._queue and not self._closing.is_set():
                self._wake.wait(max(0.0, self._sync_due - monotonic()) if self._is_dirty else None)
            self._is_idle = False
            self._wake.clear()
        if self._queue and not self._closing.is_set():
            self._hurry.wait(GATHER)

    def _write(self, is_closing: bool) -> None:
        """Append what waits, and sync if somebody asks for it or it is time. Raises what goes wrong."""
        if self._chain is None:
            self._chain = self._open_chain()
        if self._failed_at is not None and self._is_dirty:
            # The chain keeps what is not durable yet, which must not become more and more.
            self._chain.sync()
            self._is_dirty = False
        while self._pending or self._queue or self._lost.count:
            if not self._pending:
                self._take()
            if self._pending:
                if not self._is_dirty:
                    self._is_dirty, self._sync_due = True, monotonic() + SYNC
                # What cannot be made stays where it is, and nothing goes on without it.
                made = [each.record() if isinstance(each, Unmade) else each for each in self._pending]
                self._chain.append(made)
                self._options.count("lightwell_audit_records_total", "written", len(self._pending))
                self._pending = []
            if self._waiting or monotonic() >= self._sync_due:
                break
        if self._is_dirty and (self._waiting or is_closing or monotonic() >= self._sync_due):
            self._chain.sync()
            self._is_dirty = False
        if not self._is_dirty:
            self._tell(True)
            if self._failed_at is not None:
                self._recover()

    def _take(self) -> None:
        """Move a block of records out of the queue, and what is lost since the last one."""
        take, records, members = self._queue.popleft, self._pending, 0
        for _ in range(min(BATCH, len(self._queue))):
            item = take()
            if isinstance(item, Unmade):  # as most are
                records.append(item)
            elif isinstance(item, _Durable):
                (self._patient if item.is_patient else self._waiting).append(item)
            else:
                records.append(item)
                if type(item) is AuditRecord and (item.patients or item.image_sets or item.items):
                    members += _members(item)
        with self._lock:
            self._members -= members
            lost, self._lost = self._lost, _Lost()
        if lost.count:
            records.append(lost.record())

    def _tell(self, is_kept: bool) -> None:
        waiting, self._waiting = self._waiting, []
        if is_kept:
            waiting += self._patient
            self._patient = []
        for one in waiting:
            one.tell(is_kept)

    def _fail(self, error: Exception) -> None:
        is_known = isinstance(error, OSError | LightwellError)
        said = (isinstance(error, OSError) and error.strerror) or (
            str(error) if is_known else type(error).__name__
        )
        if said != self._failure:
            log.error("the audit trail cannot be written: %s", error, exc_info=not is_known)
        if self._failed_at is None:
            self._failed_at, self._failed_since = monotonic(), self._now()
            self._options.measure("lightwell_audit_stopped", self._options.process, 1)
        self._failure = said
        self._tell(False)

    def _recover(self) -> None:
        log.warning("the audit trail is written again")
        self._failed_at = self._failure = None
        self._options.measure("lightwell_audit_stopped", self._options.process, 0)
        record = AuditRecord(
            at=self._failed_since, until=self._now(), operation="AuditInterrupted", kind="security"
        )
        self.put(record)


@dataclass(slots=True)
class _Lost:
    """Records that had no room: how many, and the times of the first and the last."""

    count: int = 0
    since: int = 0
    until: int = 0

    def add(self, at: int) -> None:
        self.since = self.since or at
        self.until = at
        self.count += 1

    def record(self) -> AuditRecord:
        return AuditRecord(at=self.since, until=self.until, lost=self.count, operation=LOST, kind="security")


def _members(record: AnyRecord) -> int:
    return len(record.patients) + len(record.image_sets) + len(record.studies) + len(record.items)
