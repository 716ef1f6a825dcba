"""What is done without a client, on record: imports, instances that were stored, what the collector removes.

Whoever asked for it may be long gone, so these records name who that was, where anybody did.

A process may be killed between a commit and the record of it. So what makes versions writes its records into
the transaction as well (`owe`), and they leave the database once the disk has them in the trail. What a
killed process has left there is written by `work.owed_records`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Final, NamedTuple

from sqlalchemy import Connection

from lightwell.errors import StorageUnavailableError, UnavailableError
from lightwell.observe.audit.record import AuditRecord, encode_lines
from lightwell.observe.audit.trail import AuditTrail
from lightwell.stores.background import audit_owed
from lightwell.stores.background.audit_owed import Debt
from lightwell.stores.data_folder.node import Node

log = logging.getLogger(__name__)

_FULL: Final = (
    "the audit trail cannot be written at the moment, and nothing is done that it could not record; the log "
    "and /readyz say what is wrong"
)
# Debts that a transaction clears besides what it is for.
_AT_ONCE: Final = 500
_RUN: Final = 12
# Debts of this process that `work.owed_records` pays, which are remembered until whoever made one puts it:
# that is a moment after the commit, or never.
_TAKEN: Final = 10_000


class Owed(NamedTuple):
    """Records that a transaction has written as a debt of the trail, and older debts that it has cleared."""

    id: str
    records: Sequence[AuditRecord]
    cleared: tuple[str, ...] = ()


class Debtor(NamedTuple):
    """Who owes: the process that works on a data folder; ``new_id`` makes ids of debts."""

    node: Node
    new_id: Callable[[], str]


class BackgroundRecords:
    """The records of one process that works without clients; without a trail nothing is on record."""

    def __init__(
        self, trail: AuditTrail | None, now: Callable[[], int], debtor: Debtor | None = None
    ) -> None:
        """``now`` is the time in milliseconds; without a ``debtor`` nothing is owed."""
        self._trail = trail
        self._now = now
        self._debtor = debtor
        # What the ids of its debts begin with.
        self._run = "" if debtor is None else debtor.new_id()[:_RUN]
        self._lock = Lock()
        # Debts of which the trail has the records on the disk, in their order.
        self._kept: dict[str, None] = {}
        # All debts whose records the trail has been given, until they are cleared; and those that are paid
        # from the database instead.
        self._put: set[str] = set()
        self._taken: dict[str, None] = {}

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
        self.put_owed(Owed("", self._stamped(records)))

    def owe(self, conn: Connection, records: Sequence[AuditRecord]) -> Owed:
        """Write the records into the transaction that does what they tell; `put_owed` them once it has ended.

        May be called again by a transaction that begins anew.
        """
        if self._trail is None or self._debtor is None or not records:
            return Owed("", self._stamped(records))
        with self._lock:
            cleared = tuple(id for id, _ in zip(self._kept, range(_AT_ONCE), strict=False))
        audit_owed.clear(conn, cleared)
        # The same for all, so that what was written of them can be told, should the process die.
        id = self._run + self._debtor.new_id()[_RUN:]
        records = self._stamped(records, id)
        place = (self._debtor.node.id, self._trail.writer)
        audit_owed.add(conn, Debt(id, *place, records[0].at, encode_lines(records).decode()))
        return Owed(id, records, cleared)

    def put_owed(self, owed: Owed) -> None:
        """`put` for what was owed in a transaction that is committed by now."""
        if self._trail is None:
            return
        self._forget(owed.cleared)
        if not owed.records or not self._may_put(owed.id):
            return
        # If only one had no room, it is the debt that keeps all of them.
        has_room = all([self._trail.put(record) for record in owed.records])
        if owed.id and has_room:
            self._trail.tell_when_kept(lambda: self._keep(owed.id))
        elif owed.id:
            self._forget((owed.id,))
        if self._trail.is_sync:
            try:
                self._trail.flush()
            except UnavailableError:
                # It is done by now. The trail keeps the records and writes them as soon as it can.
                log.warning("what was done in the background is not on record yet: %s", self._trail.failure())

    def owes(self, id: str) -> bool:
        """Whether this process has made the debt, and not one before it."""
        return id.startswith(self._run)

    def take(self, id: str) -> bool:
        """Whether a debt of this process is to be paid from the database; then it is not put any more.

        So it is where nobody knew whether the transaction was committed, or the trail had no room.
        """
        with self._lock:
            if id in self._put:
                return False
            self._taken[id] = None
            if len(self._taken) > _TAKEN:
                del self._taken[next(iter(self._taken))]
            return True

    def kept(self) -> tuple[str, ...]:
        """The debts that may be cleared, since the disk has their records in the trail."""
        with self._lock:
            return tuple(self._kept)

    def cleared(self, ids: Sequence[str]) -> None:
        """These were cleared, in a transaction that is committed by now."""
        self._forget(ids)

    def _may_put(self, id: str) -> bool:
        with self._lock:
            if id in self._taken:
                del self._taken[id]
                return False
            if id:
                self._put.add(id)
            return True

    def _keep(self, id: str) -> None:
        with self._lock:
            self._kept[id] = None

    def _forget(self, ids: Sequence[str]) -> None:
        if ids:
            with self._lock:
                for id in ids:
                    self._kept.pop(id, None)
                    self._put.discard(id)

    def _stamped(self, records: Sequence[AuditRecord], id: str | None = None) -> Sequence[AuditRecord]:
        now = self._now()
        for record in records:
            record.at, record.via = now, "engine"
            record.id = id or record.id
        return records


NOT_RECORDED: Final = BackgroundRecords(None, lambda: 0)
"""For work that is on record otherwise, such as that of a command."""
