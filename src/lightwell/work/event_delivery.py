"""Delivery of events: each becomes a line of ``DATA/events.ndjson``, at least once, in outbox order."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import Connection

from lightwell.clock import Clock
from lightwell.errors import StorageError
from lightwell.stores import Stores
from lightwell.stores.background import outbox

EVENTS = "events.ndjson"
_AT_ONCE = 200


class EventLog:
    """The file of delivered events."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def append(self, lines: list[str]) -> None:
        """Write whole lines and make them durable."""
        try:
            if self._fd is None:
                self._fd = self._open()
            data = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
            os.fsync(self._fd)
        except OSError as error:
            self.close()
            raise StorageError(f"{self.path} cannot be written: {error.strerror}.") from error

    def _open(self) -> int:
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            os.write(fd, b"\n")  # a line that a crash has cut short; its event is delivered again
        return fd

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def deliver(stores: Stores, log: EventLog, clock: Clock) -> int:
    """Deliver events that wait. Returns how many, 0 once none is left."""
    if stores.db.dialect == "sqlite":
        # There is one engine, so the writer need not be blocked while the file is written.
        with stores.db.read() as conn:
            waiting = list(outbox.waiting(conn, _AT_ONCE))
        if waiting:
            log.append([w.event for w in waiting])
            numbers = [w.number for w in waiting]
            stores.db.write(lambda conn: outbox.mark_delivered(conn, numbers, clock.now()))
        return len(waiting)

    def work(conn: Connection) -> int:
        # The rows are locked while the file is written; other engines skip them.
        waiting = list(outbox.waiting(conn, _AT_ONCE))
        if waiting:
            log.append([w.event for w in waiting])
            outbox.mark_delivered(conn, [w.number for w in waiting], clock.now())
        return len(waiting)

    return stores.db.write(work)
