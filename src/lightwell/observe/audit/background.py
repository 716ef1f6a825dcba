"""What is done without a client, on record: imports, instances that were stored, what the collector removes.

Whoever asked for it may be long gone, so these records name who that was, where anybody did.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from lightwell.errors import StorageUnavailableError, UnavailableError
from lightwell.observe.audit.record import AuditRecord
from lightwell.observe.audit.trail import AuditTrail

log = logging.getLogger(__name__)

_FULL: Final = (
    "the audit trail cannot be written at the moment, and nothing is done that it could not record; the log "
    "and /readyz say what is wrong"
)


class BackgroundRecords:
    """The records of one process that works without clients; without a trail nothing is on record."""

    def __init__(self, trail: AuditTrail | None, now: Callable[[], int]) -> None:
        """``now`` is the time in milliseconds."""
        self._trail = trail
        self._now = now

    def check(self) -> None:
        """Call it before what will be recorded. Raises `StorageUnavailableError` if that cannot be."""
        if self._trail is not None and not self._trail.has_room():
            raise StorageUnavailableError(_FULL)

    def check_removal(self) -> None:
        """`check` for what makes room, which a full disk must not stop: its records may wait in memory.

        That it was to go is on record already.
        """
        if self._trail is not None and not self._trail.may_wait():
            raise StorageUnavailableError(_FULL)

    def put(self, records: Sequence[AuditRecord]) -> None:
        """Put what was just done on record, and with ``audit_sync`` wait until the disk has it."""
        if self._trail is None or not records:
            return
        now = self._now()
        for record in records:
            record.at, record.via = now, "engine"
            self._trail.put(record)
        if self._trail.is_sync:
            try:
                self._trail.flush()
            except UnavailableError:
                # It is done by now. The trail keeps the records and writes them as soon as it can.
                log.warning("what was done in the background is not on record yet: %s", self._trail.failure())


NOT_RECORDED: Final = BackgroundRecords(None, lambda: 0)
"""For work that is on record otherwise, such as that of a command."""
