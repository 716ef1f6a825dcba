"""Records of the audit trail that a process owes, mostly since it was killed: they are written after all.

They stand in the database since the transaction that did what they tell (`stores.background.records`). Each
is written once: those that the trail has, sealed, are left out. A start writes what was left by processes of
its data folder that are gone, and what any other has left for a day, since nobody may ever start there again;
and each hour that goes for what the process itself could not put there, too.

Whoever can write the database can write a debt, but must not have anything else sealed by that than that a
version was made or a job has ended, which they could have made so as well.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Final

from lightwell.clock import Clock
from lightwell.errors import ConfigurationError, StorageError, UnavailableError
from lightwell.ingest.on_record import IMPORTED, JOB_ENDED, STORED
from lightwell.observe.audit.chain import closed
from lightwell.observe.audit.record import AuditRecord, decode_line
from lightwell.observe.audit.sealed import sealed_with_ids
from lightwell.observe.audit.segments import writers
from lightwell.observe.audit.trail import LOST, AuditTrail
from lightwell.observe.logs import event
from lightwell.observe.seldom import Seldom
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.background import audit_owed
from lightwell.stores.background.audit_owed import Debt
from lightwell.stores.background.records import BackgroundRecords
from lightwell.stores.data_folder.audit_folder import AuditFolder
from lightwell.stores.data_folder.node import Node
from lightwell.stores.db.database import Database

log = logging.getLogger(__name__)
seldom = Seldom(log)

_SECONDS: Final = 5.0
# How often to look for what others have left, and how many debts at once.
_ROUNDS: Final = 720
_AT_ONCE: Final = 100
# How many of one writer are looked for in the trail at once.
_MOST: Final = 20_000
# What is put on record at all is so a moment after the commit.
_MINUTE: Final = 60_000
_DAY: Final = 86_400_000
# A clock may have been set meanwhile.
_MARGIN: Final = 3_600_000
# What may be owed, and what of such a record may come from the database.
_OPERATIONS: Final = (IMPORTED, STORED, JOB_ENDED)
_MEMBERS: Final = (
    *("at", "id", "operation", "who", "store", "image_set", "version", "patient", "study", "series"),
    *("instances", "job", "role", "query", "error", "emergency"),
)


@dataclass(frozen=True, slots=True)
class OwedPlaces:
    """Where debts are, and where they are paid."""

    db: Database
    folder: AuditFolder
    trail: AuditTrail
    clock: Clock


class OwedRecords:
    """For one process that works in the background, with the ``records`` of it."""

    def __init__(self, places: OwedPlaces, records: BackgroundRecords) -> None:
        self._places = places
        self._db = places.db
        self._root: Path = places.folder.root
        self._records = records
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="audit-owed", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Stop. What the trail has by then is owed no more."""
        self._stopping.set()
        self._thread.join()
        with suppress(UnavailableError, StorageError):
            self._places.trail.flush()
            self.settle()

    def settle(self) -> None:
        """Clear the debts whose records are on the disk. Raises `StorageError`."""
        if ids := self._records.kept():
            self._db.write(lambda conn: audit_owed.clear(conn, ids))
            self._records.cleared(ids)

    def recover(self) -> int:
        """Write what processes owe that are gone, and what this one could not; how many debts that were.

        Raises `StorageError`, `OSError`, `ConfigurationError`, and `UnavailableError` if the trail cannot be
        written.
        """
        node, own, paid = Node(self._root.parent).id, self._places.trail.writer, 0
        now = self._places.clock.now()
        self._db.write(lambda conn: audit_owed.take_over(conn, node, own, now - _DAY, _AT_ONCE))
        with self._db.read() as conn:
            found = {
                writer: audit_owed.left(conn, node, writer, _MOST)
                for writer in audit_owed.writers(conn, node)
            }
        for writer, debts in found.items():
            try:
                paid += self._recover_of(writer, debts, now)
            except OSError as error:
                # What is wrong with one folder keeps nobody else's from being written.
                log.warning("records that the audit trail owes have to wait: %s", error)
        return paid

    def _recover_of(self, writer: str, debts: Mapping[str, int], now: int) -> int:
        """`recover` for the debts of one writer, whose name nothing has checked, with their times."""
        own = self._places.trail.writer
        if writer == own:
            return self._pay({id: at for id, at in debts.items() if self._is_left(id, at, now)}, {own}, now)
        if writer not in {folder.name for folder in writers(self._root)}:
            # Somebody may just be about to make it.
            return self._pay({id: at for id, at in debts.items() if at < now - _MARGIN}, {own}, now)
        with closed(self._root / writer) as is_closed:
            # One that works pays by itself.
            return self._pay(debts, {writer, own}, now) if is_closed else 0

    def _is_left(self, id: str, at: int, now: int) -> bool:
        """Whether a debt of this writer is one of a process before, or one that nobody puts on record."""
        return not self._records.owes(id) or (at < now - _MINUTE and self._records.take(id))

    def _pay(self, left: Mapping[str, int], writers: Iterable[str], now: int) -> int:
        paid, ids = 0, list(left)
        if not ids:
            return 0
        # What an attempt before has put must be told from what is missing.
        if not self._places.trail.flush():
            raise UnavailableError("the trail cannot be written")
        known = self._on_record(left, writers)
        for start in range(0, len(ids), _AT_ONCE):
            with self._db.read() as conn:
                debts = audit_owed.get(conn, ids[start : start + _AT_ONCE])
            self._write(debts, known, now)
            paid += len(debts)
        return paid

    def _write(self, debts: Sequence[Debt], known: Container[tuple[object, ...]], now: int) -> None:
        records = [
            record for debt in debts for record in _records(debt) if (record.id, *_about(record)) not in known
        ]
        trail = self._places.trail
        for record in records:
            record.number, record.recovered = 0, now
        if not all(trail.put(record) for record in records[:-1]):
            raise UnavailableError("there is no room for them in the trail")
        if records:
            trail.keep(records[-1])
            event(
                log,
                logging.WARNING,
                "records that a process was killed before it wrote them, or could not write, are in the audit"
                " trail now",
                records=len(records),
            )
        self._db.write(lambda conn: audit_owed.clear(conn, [debt.id for debt in debts]))

    def _on_record(self, left: Mapping[str, int], writers: Iterable[str]) -> set[tuple[object, ...]]:
        """What the trail has of them already, as its seals prove."""
        keys, since = self._places.folder.ensure_keys(), min(left.values()) - _MARGIN
        return {
            (record.id, *_about(record))
            for writer in writers
            for record in sealed_with_ids(self._root / writer, keys, left, since)
        }

    def _run(self) -> None:
        rounds = 0
        while True:
            try:
                self.settle()
                if rounds % _ROUNDS == 0:
                    while self.recover():
                        pass
                rounds += 1
            except (OSError, StorageError, UnavailableError, ConfigurationError) as error:
                seldom(logging.INFO, "records that the audit trail owes have to wait: %s", error)
            except Exception:
                log.exception("records that the audit trail owes cannot be written")
                rounds += 1
            if self._stopping.wait(_SECONDS):
                return


def owed_records(
    settings: Settings, stores: Stores, trail: AuditTrail, records: BackgroundRecords
) -> OwedRecords:
    """Those of a process with these settings."""
    folder = AuditFolder(settings.data, settings.audit_key_file)
    return OwedRecords(OwedPlaces(stores.db, folder, trail, Clock()), records)


def _records(debt: Debt) -> list[AuditRecord]:
    """Those of a debt, and one that says how many of them are lost."""
    found, lost = [], 0
    # Texts may have other ends of lines, which JSON leaves as they are.
    for line in filter(None, debt.records.split("\n")):
        try:
            record = decode_line(line.encode(errors="replace"))
        except ValueError:
            log.error("a record that the audit trail owes is damaged: debt %s", debt.id)
            lost += 1
            continue
        if record.operation not in _OPERATIONS or record.id != debt.id:
            log.error(
                "what the database says that the audit trail owes is nothing that could be: debt %s, from "
                "somebody who can write the database; it is not put on record",
                debt.id,
            )
            continue
        known = {name: getattr(record, name) for name in _MEMBERS}
        found.append(AuditRecord(via="engine", kind="change", **known))
    if lost:
        told = AuditRecord(at=debt.at, id=debt.id, via="engine", operation=LOST, kind="security")
        told.lost, told.until = lost, debt.at
        found.append(told)
    return found


def _about(record: AuditRecord) -> tuple[object, ...]:
    """What tells a record from the others of its transaction."""
    return record.operation, record.image_set, record.version
