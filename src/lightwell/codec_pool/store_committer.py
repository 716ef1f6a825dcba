"""Commits what `Store` requests have read: as many as wait in one transaction, then their replies.

One thread: while the disk flushes one transaction the next gathers, so that the number of flushes does not
grow with the number of clients.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection

from lightwell.clock import Clock, Ids
from lightwell.codec_pool.failures import STORE, cause_of
from lightwell.codec_pool.requests import InstanceRefused, InstanceStored, PoolReply, RequestError, Stored
from lightwell.domain.imports.records import ChunkResult, NewRecord
from lightwell.domain.imports.store_response import PROCESSING_FAILURE
from lightwell.domain.states import DatastoreStatus
from lightwell.errors import CommitUnknownError, StorageError
from lightwell.ingest import on_record, store_commit, twins
from lightwell.ingest.merge import ImportTarget, Merge, VersionRef
from lightwell.ingest.store_commit import StoreCommit
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.account import datastores
from lightwell.stores.background.records import NOT_RECORDED, BackgroundRecords, Owed
from lightwell.stores.db.now import Skew
from lightwell.stores.image_sets.existing_instances import Verdicts
from lightwell.stores.objects import packs
from lightwell.stores.objects.pack_objects import OpenPack

log = logging.getLogger(__name__)

# Instances in one transaction, about.
_MOST = 2000
# Packs are announced so many at a time, since each announcement is a flush of the disk.
_AHEAD = 32
_LONGEST_AHEAD = 600_000

_GONE = RequestError("missing", "The data store no longer exists or is no longer active; nothing was stored.")
_UNKNOWN = (
    "The database was lost while it committed, so it is not known whether the instances were stored. Send "
    "them again: what was stored is recognized."
)
_FAULT = "The instances could not be put into image sets because of a fault in lightwell, please report it."


@dataclass(frozen=True, slots=True)
class StoreTarget:
    """What never changes of a data store."""

    key: int
    id: str
    storage_format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCommit:
    """A `Store` request whose bytes are durable. ``failed``: (reason, message) of files, by place."""

    target: StoreTarget
    caller: str
    emergency: bool
    count: int
    result: ChunkResult
    failed: dict[int, tuple[int, str]]
    reply: Callable[[PoolReply], None]


class _Committed(NamedTuple):
    """In which version each file of each request is, by file number, and what is on record of them."""

    versions: list[dict[int, VersionRef]]
    owed: Owed


class StoreCommitter:
    """For all dispatchers; `run` is the body of its thread."""

    def __init__(
        self,
        stores: Stores,
        settings: Settings,
        clock: Clock,
        ids: Ids,
        records: BackgroundRecords = NOT_RECORDED,
    ) -> None:
        self._records = records
        self._stores = stores
        self._settings = settings
        self._clock = clock
        self._skew = Skew(Clock().now)
        self._ids = ids
        self._waiting: list[PendingCommit] = []
        self._changed = threading.Condition()
        self._lock = threading.Lock()
        self._targets: dict[str, StoreTarget] = {}
        self._ahead: dict[int, tuple[int, int | None, list[OpenPack]]] = {}

    def target(self, datastore_id: str) -> StoreTarget | None:
        """The data store with this id, None if none is active."""
        with self._lock:
            if (known := self._targets.get(datastore_id)) is not None:
                return known
        with self._stores.db.read() as conn:
            found = datastores.get(conn, datastore_id)
        if found is None or found.status != DatastoreStatus.ACTIVE:
            return None
        target = StoreTarget(found.key, found.id, found.storage_format)
        with self._lock:
            if len(self._targets) >= 256:
                self._targets.clear()
            self._targets[datastore_id] = target
        return target

    def open_packs(self, target: StoreTarget, count: int) -> list[OpenPack]:
        """Packs whose rows are open. Those that are never used are the collector's.

        Raises `StorageUnavailableError` where no pack can be written now.
        """
        packs.check_mounted(self._stores.db, self._stores.objects)
        now = self._clock.now()
        # Not under the lock, where stores to all data stores would wait for a key service.
        sealing = self._stores.keys.prepare(target.key, self._ids.key, now)
        # Far from the collector's grace, which counts from the announcement.
        longest = min(_LONGEST_AHEAD, self._settings.collect_grace * 250)
        with self._lock:
            announced, sealed_with, keys = self._ahead.get(target.key, (0, None, []))
            if now - announced > longest or sealed_with != sealing:
                keys = []
            if len(keys) < count:

                def work(conn: Connection) -> list[OpenPack]:
                    at = now + self._skew.of(conn)
                    return self._stores.keys.open_packs(conn, target.key, count + _AHEAD, self._ids.key, at)

                keys = self._stores.db.write(work)
                announced = now
                if len(self._ahead) >= 64:
                    self._ahead.clear()
            self._ahead[target.key] = (announced, sealing, keys[count:])
        return keys[:count]

    def put(self, pending: PendingCommit) -> None:
        """Commit it soon, and reply."""
        with self._changed:
            self._waiting.append(pending)
            self._changed.notify()

    def run(self, stopped: threading.Event) -> None:
        """Commit until ``stopped`` is set and nothing waits."""
        while True:
            with self._changed:
                if not self._waiting:
                    if stopped.is_set():
                        return
                    self._changed.wait(0.5)
                    continue
                batch = self._batch()
            self._commit(batch)

    def _batch(self) -> list[PendingCommit]:
        """What waits for the data store of the one that has waited longest."""
        target = self._waiting[0].target
        batch: list[PendingCommit] = []
        rest: list[PendingCommit] = []
        count = 0
        for one in self._waiting:
            if one.target.key == target.key and (not batch or count + one.count <= _MOST):
                batch.append(one)
                count += one.count
            else:
                rest.append(one)
        self._waiting = rest
        return batch

    def _commit(self, batch: Sequence[PendingCommit]) -> None:
        try:
            self._records.check()
            found = twins.write(
                self._stores.db,
                self._stores.objects,
                lambda conn, verdicts: self._write(conn, verdicts, batch),
            )
        except CommitUnknownError as error:
            # To try again would find its own keys, and to say that nothing was stored may be wrong.
            log.warning("instances may have been stored, or not: %s", error)
            for one in batch:
                one.reply(RequestError("storage", _UNKNOWN))
            return
        except StorageError as error:
            if len(batch) == 1:
                # Perhaps a collector whose clock is ahead took the packs that were announced.
                with self._lock:
                    self._ahead.pop(batch[0].target.key, None)
                log.warning("instances could not be stored: %s", error)
                batch[0].reply(STORE[cause_of(error)].error(str(error)))
                return
        except Exception:
            if len(batch) == 1:
                log.exception("instances could not be stored")
                self._without_refused(batch[0])
                return
        else:
            if found is not None:
                self._records.put_owed(found.owed)
            for place, one in enumerate(batch):
                one.reply(_GONE if found is None else _stored(one, found.versions[place]))
            return
        # One is at fault: the others go on.
        for one in batch:
            self._commit([one])

    def _without_refused(self, one: PendingCommit) -> None:
        """Store what the database takes; the rest fails."""
        refused: list[NewRecord] = []
        with contextlib.suppress(StorageError):
            refused = self._stores.db.write(
                lambda conn: store_commit.refused(conn, one.target.key, one.result)
            )
        if not refused:
            one.reply(RequestError("fault", _FAULT))
            return
        numbers = {record.file for record in refused}
        one.failed.update((number, (PROCESSING_FAILURE, store_commit.REFUSED)) for number in numbers)
        one.result.records = [r for r in one.result.records if r.file not in numbers]
        if one.result.records:
            self._commit([one])
        else:
            one.reply(_stored(one, {}))

    def _write(
        self, conn: Connection, verdicts: Verdicts, batch: Sequence[PendingCommit]
    ) -> _Committed | None:
        target = batch[0].target
        held = datastores.get(conn, target.id, hold=True)
        if held is None or held.status != DatastoreStatus.ACTIVE:
            return None
        deposits = [StoreCommit(one.caller, one.emergency, one.result) for one in batch]
        place = ImportTarget(self._settings.region, self._settings.account_id, target.key, target.id)
        merge = Merge(conn, place, self._ids, self._clock.now(), verdicts)
        versions = store_commit.commit(merge, deposits)
        return _Committed(versions, self._records.owe(conn, on_record.of_stores(place, merge.written)))


def _stored(pending: PendingCommit, joined: dict[int, VersionRef]) -> Stored:
    kept = {
        r.file: InstanceStored(
            r.study_instance_uid,
            r.series_instance_uid,
            r.sop_instance_uid,
            r.sop_class_uid,
            joined[r.file].id,
            joined[r.file].version,
            r.warnings,
        )
        for r in pending.result.records
    }
    failed = {place: InstanceRefused(*why) for place, why in pending.failed.items()}
    return Stored([kept.get(place) or failed[place] for place in range(pending.count)])
