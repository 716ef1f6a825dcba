"""Requests that nobody could be proved to have sent: counted, so that strangers cannot fill the trail.

Each window of time has one record for what came from the same address with the same claim, asked for the same
operation and failed in the same way, and one for all the rest, however many requests there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from lightwell.observe.audit.record import AuditRecord

SECONDS: Final = 5.0
MOST_ROWS: Final = 50
"""Of each process, in each window: some 200 MB a day at the very most, a tenth of that once compressed."""
_LONGEST: Final = 128
_REST: Final = "RefusedRequests"


class Unproved:
    """Counts the unproved requests of one process, on its event loop."""

    def __init__(self, put: Callable[[AuditRecord], object]) -> None:
        self._put = put
        self._rows: dict[tuple[str | None, str | None, str, str | None], AuditRecord] = {}

    def add(self, record: AuditRecord) -> None:
        """Count a request; its record is put when the window ends."""
        record.kind, record.count = "security", 1
        if record.claimed is not None:
            record.claimed = record.claimed[:_LONGEST]
        if not self._rows:
            asyncio.get_running_loop().call_later(SECONDS, self.flush)
        key = record.address, record.claimed, record.operation, record.error
        if key not in self._rows and len(self._rows) >= MOST_ROWS:
            key = None, None, _REST, None
            record = AuditRecord(at=record.at, kind=record.kind, operation=_REST, status=403, count=1)
        known = self._rows.setdefault(key, record)
        if known is not record:
            known.count += 1
            known.until = record.at

    def flush(self) -> None:
        """Put what was counted: the window has ended, or the process does."""
        rows, self._rows = self._rows, {}
        for record in rows.values():
            self._put(record)
