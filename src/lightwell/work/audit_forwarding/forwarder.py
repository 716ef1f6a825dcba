"""The audit trail on its way to a target: a thread of one process of a data folder.

The trail itself is the spool, so nothing is kept twice, and no request waits for a target. What is kept is
how far each chain has arrived, in ``DATA/audit/TARGET.cursor``. After any failure it goes on behind the last
record that is known to have arrived: each record arrives at least once, those of a chain in their order.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
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
from lightwell.work.audit_forwarding.target import ForwardingError, Target

log = logging.getLogger(__name__)

# Seconds between looks for new records, and between attempts after failures.
POLL: Final = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
# When it is made certain that what was sent has arrived: so much would be sent again after a failure.
MOST_UNCONFIRMED: Final = 5_000
LONGEST_UNCONFIRMED: Final = 30.0

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

    put: Callable[[AuditRecord], None]
    count: Callable[[str, str, int], None]
    measure: Callable[[str, str, float], None]
    now: Callable[[], int]


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
        """Send what each chain has next; whether there was anything. Raises what goes wrong."""
        has_sent = False
        for folder in writers(self._root):
            follower = self._followers.get(folder.name)
            if follower is None:
                follower = Follower(folder, self._arrived.get(folder.name, BEGINNING))
                self._followers[folder.name] = follower
            try:
                found = follower.read()
            except PermissionError as error:
                # A command that root ran left files that nobody else may read. Others go on.
                self._say(f"{folder.name} cannot be read: {error}")
                continue
            if found.repeats:
                log.warning(
                    "the audit trail %s is not what was forwarded before: records are sent again", folder
                )
            if found.missed:
                self._tell_missed(folder.name, found.missed, follower.cursor.number)
            if not found.records:
                continue
            has_sent = True
            if self._oldest is None:
                self._oldest = found.records[0].at
            if not self._unconfirmed:
                self._sent_at = monotonic()
            self._target.send(found.records, folder.name)
            self._unconfirmed += len(found.records)
            if self._target.is_certain or self._unconfirmed >= MOST_UNCONFIRMED:
                self._confirm()
        if self._unconfirmed and monotonic() - self._sent_at >= LONGEST_UNCONFIRMED:
            self._confirm()
        self._measure()
        return has_sent

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
        self._say(str(error) if is_known else type(error).__name__)
        self._measure()

    def _say(self, text: str) -> None:
        if text != self._failure:
            log.warning(
                "the audit trail cannot be forwarded by %s now, and will be later: %s",
                self._target.name,
                text,
            )
        self._failure = text

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
        self._telling.count(MISSED, self._target.name, missed)
        self._telling.put(
            AuditRecord(
                at=self._telling.now(),
                via="engine",
                operation="AuditForwardMissed",
                kind="security",
                count=missed,
                query={"target": self._target.name, "chain": writer, "before": number},
            )
        )

    def _measure(self) -> None:
        lag = 0.0 if self._oldest is None else max(0.0, (self._telling.now() - self._oldest) / 1000)
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
