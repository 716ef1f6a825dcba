"""The audit trail on its way to a target: a thread of one process of a data folder.

The trail itself is the spool, so nothing is kept twice, and no request waits for a target. What is kept is
how far each chain has arrived, in ``DATA/audit/TARGET.cursor``. After any failure it goes on behind the last
record that is known to have arrived: each record arrives at least once, those of a chain in their order.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Final

import msgspec

from lightwell.observe.audit.following import BEGINNING, Cursor, Follower
from lightwell.observe.audit.record import AuditRecord
from lightwell.observe.audit.segments import sync_folder, writers
from lightwell.stores.data_folder.process_lock import ProcessLock
from lightwell.work.audit_forwarding.target import ForwardingError, LeftOut, RefusedError, Target

log = logging.getLogger(__name__)

# Seconds between looks for new records, and between attempts after failures.
POLL: Final = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
# When it is made certain that what was sent has arrived: so much would be sent again after a failure.
MOST_UNCONFIRMED: Final = 5_000
LONGEST_UNCONFIRMED: Final = 30.0

# The record of records that never arrive, and how many of these it names at most.
_MISSED_RECORD: Final = "AuditForwardMissed"
_MOST_NAMED: Final = 100

_CURSORS: Final = msgspec.json.Decoder(dict[str, Cursor])

FORWARDED: Final = "lightwell_audit_forwarded_total"
MISSED: Final = "lightwell_audit_forward_missed_total"
LAG: Final = "lightwell_audit_forward_lag_seconds"


@dataclass(frozen=True, slots=True)
class Telling:
    """Whom a forwarder tells what.

    ``put`` takes records for the trail, ``count`` and ``measure`` are those of `observe.metrics.Recorder`,
    ``now`` is the time in milliseconds.
    """

    put: Callable[[AuditRecord], object]
    count: Callable[[str, str, int], None]
    measure: Callable[[str, str, float], None]
    now: Callable[[], int]


@dataclass(slots=True)
class _Wait:
    """A chain that is left alone: why, until when, for how long, and the time of its oldest record."""

    why: str
    until: float
    pause: float
    oldest: int | None


class Forwarder:
    """Sends all chains below ``DATA/audit`` to one target, unless another process does."""

    def __init__(self, root: Path, target: Target, telling: Telling) -> None:
        self._root = root
        self._target = target
        self._telling = telling
        self._lock = ProcessLock(root, f"{target.name}.lock")
        self._path = root / f"{target.name}.cursor"
        self._stopping = Event()
        self._arrived: dict[str, Cursor] = {}
        self._followers: dict[str, Follower] = {}
        self._unconfirmed = 0
        self._sent_at = 0.0
        # The time of the oldest record that has not arrived, and of what is missing who knows already.
        self._oldest: int | None = None
        self._told: set[tuple[str, int]] = set()
        self._failure: str | None = None
        self._waits: dict[str, _Wait] = {}
        self._thread = Thread(target=self._run, name=f"audit-{target.name}", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self, seconds: float = 5.0) -> None:
        """Stop; what has not arrived within that time is sent by the next start."""
        self._stopping.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        pause, is_ours = _FIRST_PAUSE, False
        while not self._stopping.is_set():
            try:
                if not is_ours:
                    is_ours = self._lock.take()
                    if is_ours:
                        self._arrived = _load(self._path)
                if is_ours:
                    while self._round() and not self._stopping.is_set():
                        pause = _FIRST_PAUSE
            except Exception as error:
                self._fail(error)
                self._stopping.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                pause = _FIRST_PAUSE
                self._stopping.wait(POLL)
        if is_ours:
            try:
                self._confirm()
            except Exception as error:
                self._fail(error)
            self._target.close()
            self._lock.release()

    def _round(self) -> bool:
        """Send what each chain has next; whether there was anything. Raises what goes wrong for all."""
        has_sent = False
        for folder in writers(self._root):
            wait = self._waits.get(folder.name)
            if wait is None or monotonic() >= wait.until:
                has_sent |= self._send_next(folder)
        if self._unconfirmed and monotonic() - self._sent_at >= LONGEST_UNCONFIRMED:
            self._confirm()
        self._measure()
        return has_sent

    def _send_next(self, folder: Path) -> bool:
        """Send what a chain has next; whether there was anything. What is wrong with it alone is no error."""
        follower = self._followers.get(folder.name)
        if follower is None:
            follower = Follower(folder, self._arrived.get(folder.name, BEGINNING))
            self._followers[folder.name] = follower
        try:
            found = follower.read()
        except PermissionError as error:
            # A command that root ran left files that nobody else may read.
            self._put_off(folder.name, f"it cannot be read: {error}", None)
            return False
        if found.repeats:
            log.warning("the audit trail %s is not what was forwarded before: records are sent again", folder)
        if found.missed:
            self._tell_missed(folder.name, found.missed, follower.cursor.number)
        if not found.records:
            self._resume(folder.name)
            return False
        if not self._unconfirmed:
            self._sent_at = monotonic()
        oldest, first = self._oldest, found.records[0].at
        self._oldest = first if oldest is None else oldest
        try:
            left_out = self._target.send(found.records, folder.name)
        except RefusedError as error:
            # What was sent of it is not known to have arrived, so its place must not be noted.
            del self._followers[folder.name]
            self._oldest = oldest
            self._put_off(folder.name, str(error), first)
            return False
        if left_out:
            own = {each.number for each in found.records if each.operation == _MISSED_RECORD}
            self._tell_left_out(folder.name, left_out, own)
        self._resume(folder.name)
        self._unconfirmed += len(found.records)
        if self._target.is_certain or self._unconfirmed >= MOST_UNCONFIRMED:
            self._confirm()
        return True

    def _put_off(self, writer: str, why: str, oldest: int | None) -> None:
        """Try a chain again later, and say why, once for each reason."""
        before = self._waits.get(writer)
        pause = _FIRST_PAUSE if before is None else min(2 * before.pause, _LONGEST_PAUSE)
        self._waits[writer] = _Wait(why, monotonic() + pause, pause, oldest)
        if before is None or before.why != why:
            log.warning(
                "the audit trail's chain %s cannot be forwarded by %s now, and will be later: %s",
                writer,
                self._target.name,
                why,
            )

    def _resume(self, writer: str) -> None:
        if self._waits.pop(writer, None) is not None:
            log.warning("the audit trail's chain %s is forwarded by %s again", writer, self._target.name)

    def _confirm(self) -> None:
        """Note how far it is certain that all chains have arrived. Raises what goes wrong."""
        if not self._unconfirmed:
            return
        self._target.confirm()
        self._arrived |= {name: follower.cursor for name, follower in self._followers.items()}
        _save(self._path, self._arrived)
        self._telling.count(FORWARDED, self._target.name, self._unconfirmed)
        self._unconfirmed, self._oldest = 0, None
        if self._failure is not None:
            self._failure = None
            log.warning("the audit trail is forwarded by %s again", self._target.name)
        self._measure()

    def _fail(self, error: Exception) -> None:
        """Go back to what has arrived, and say why, once for each reason."""
        with suppress(Exception):
            self._target.close()
        self._followers.clear()
        self._unconfirmed = 0
        is_known = isinstance(error, OSError | ForwardingError)
        if not is_known:
            log.error("forwarding the audit trail failed", exc_info=error)
        text = str(error) if is_known else type(error).__name__
        if text != self._failure:
            log.warning(
                "the audit trail cannot be forwarded by %s now, and will be later: %s",
                self._target.name,
                text,
            )
        self._failure = text
        self._measure()

    def _tell_missed(self, writer: str, missed: int, number: int) -> None:
        """Records were removed before they could be sent: on record, in the log and counted."""
        if (writer, number) in self._told:
            return
        self._told.add((writer, number))
        log.error(
            "%s records of the audit trail's chain %s were removed, or cannot be read, before they could be "
            "forwarded by %s",
            missed,
            writer,
            self._target.name,
        )
        self._record_missed(missed, {"chain": writer, "before": number})

    def _tell_left_out(self, writer: str, left_out: Sequence[LeftOut], own: Container[int]) -> None:
        """Records were refused for good: on record, in the log and counted.

        ``own`` are the numbers of records that tell of such records themselves. Of these alone none is made,
        since it would be refused as well, and so on for ever.
        """
        answers = dict(left_out)
        numbers = sorted(answers)
        for first in range(0, len(numbers), _MOST_NAMED):
            named = numbers[first : first + _MOST_NAMED]
            said = sorted({answers[number] for number in named})
            log.error(
                "records %s of the audit trail's chain %s are left out, since %s refuses them: %s",
                ", ".join(map(str, named)),
                writer,
                self._target.name,
                "; ".join(said),
            )
            if all(number in own for number in named):
                self._telling.count(MISSED, self._target.name, len(named))
            else:
                self._record_missed(len(named), {"chain": writer, "numbers": named, "answers": said})

    def _record_missed(self, count: int, which: dict[str, object]) -> None:
        self._telling.count(MISSED, self._target.name, count)
        self._telling.put(
            AuditRecord(
                at=self._telling.now(),
                via="engine",
                operation=_MISSED_RECORD,
                kind="security",
                count=count,
                query={"target": self._target.name} | which,
            )
        )

    def _measure(self) -> None:
        waiting = [self._oldest, *(wait.oldest for wait in self._waits.values())]
        oldest = min((at for at in waiting if at is not None), default=None)
        lag = 0.0 if oldest is None else max(0.0, (self._telling.now() - oldest) / 1000)
        self._telling.measure(LAG, self._target.name, lag)


def _load(path: Path) -> dict[str, Cursor]:
    """How far each chain has arrived. Raises `OSError`."""
    try:
        return _CURSORS.decode(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        log.warning("%s cannot be understood, so the whole audit trail is sent again: %s", path, error)
        return {}


def _save(path: Path, cursors: dict[str, Cursor]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(cursors))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)
