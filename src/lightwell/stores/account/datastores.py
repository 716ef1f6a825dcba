"""Data stores in the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, exists, or_, select, update

from lightwell.domain.datastore import DataStore
from lightwell.domain.states import DatastoreStatus, JobStatus, StorageFormat
from lightwell.stores.db.bulk import insert_many
from lightwell.stores.db.database import Database
from lightwell.stores.db.look_up import LookUp
from lightwell.stores.db.tables import data_key, datastore, image_set, import_job

_COLUMNS = (
    datastore.c.key,
    datastore.c.id,
    datastore.c.name,
    datastore.c.status,
    datastore.c.storage_format,
    datastore.c.kms_key_arn,
    datastore.c.lambda_authorizer_arn,
    datastore.c.created_at,
    datastore.c.updated_at,
)

STANDING_LOOK_UP = LookUp("SELECT key FROM datastore WHERE id = ? AND status <> 'DELETED'")
"""For `Database.look_up` (id): the key of a data store that is not deleted."""

STANDS = "EXISTS (SELECT 1 FROM datastore d WHERE d.key = %s AND d.id = %s AND d.status <> 'DELETED')"
"""SQL of PostgreSQL (key, id): whether there is such a data store that is not deleted."""

_MOST_KEYS = 4096

_NOT_DELETED = (DatastoreStatus.CREATING, DatastoreStatus.ACTIVE, DatastoreStatus.DELETING)
_RUNNING = (JobStatus.SUBMITTED, JobStatus.IN_PROGRESS)

# Made once: building a statement costs as much as running it.
_GET = select(*_COLUMNS).where(datastore.c.id == bindparam("datastore_id"))
_HOLD = _GET.with_for_update(read=True)
_LOCK = _GET.with_for_update()


class DatastoreGoneError(LookupError):
    """There is no data store of that key and id that is not deleted."""


class KnownKeys:
    """The keys of data stores by their ids, which never change. Safe to use from threads.

    A data store may have been deleted meanwhile: whoever uses its key asks for `STANDS` as well.
    """

    def __init__(self) -> None:
        self._keys: dict[str, int] = {}

    def find(self, db: Database, datastore_id: str) -> int | None:
        """The key; None where there is no such data store."""
        key = self._keys.get(datastore_id)
        if key is None:
            row = db.look_up(STANDING_LOOK_UP, (datastore_id,))
            if row is None:
                return None
            if len(self._keys) >= _MOST_KEYS:
                self._keys.clear()
            key = self._keys[datastore_id] = row[0]
        return key

    def drop(self, datastore_id: str) -> None:
        self._keys.pop(datastore_id, None)


def insert(conn: Connection, store: DataStore) -> None:
    row = {column.name: getattr(store, column.name) for column in _COLUMNS}
    insert_many(conn, datastore, [row])


def get(conn: Connection, datastore_id: str, *, hold: bool = False, lock: bool = False) -> DataStore | None:
    """The data store with this id, deleted or not; None if it never existed.

    With ``hold`` it cannot be deleted before the transaction ends: for adding a job or an image set to it.
    With ``lock`` no other transaction can hold or lock it. On SQLite a write transaction is alone anyway.
    """
    statement = _LOCK if lock else _HOLD if hold else _GET
    row = conn.execute(statement, {"datastore_id": datastore_id}).first()
    return None if row is None else _store(row)


def page(
    conn: Connection, *, status: DatastoreStatus | None, after: tuple[int, int] | None, limit: int
) -> Sequence[DataStore]:
    """At most ``limit`` data stores, newest first, those after ``after`` = (created_at, key) of another."""
    statement = select(*_COLUMNS).order_by(datastore.c.created_at.desc(), datastore.c.key.desc()).limit(limit)
    if status is not None:
        statement = statement.where(datastore.c.status == status)
    if after is not None:
        created_at, key = after
        # One lower bound on the leading column lets both databases start in the middle of the index.
        statement = statement.where(
            datastore.c.created_at <= created_at,
            or_(
                datastore.c.created_at < created_at,
                and_(datastore.c.created_at == created_at, datastore.c.key < key),
            ),
        )
    return [_store(row) for row in conn.execute(statement)]


def count(conn: Connection, most: int) -> int:
    """How many data stores are not deleted, counted up to ``most``."""
    rows = conn.execute(select(datastore.c.key).where(datastore.c.status.in_(_NOT_DELETED)).limit(most))
    return len(rows.all())


def set_status(conn: Connection, key: int, status: DatastoreStatus, now: int) -> None:
    conn.execute(update(datastore).where(datastore.c.key == key).values(status=status, updated_at=now))


def set_authorizer(conn: Connection, store: DataStore, arn: str | None, now: int) -> None:
    """Change the authorizer of a locked data store; ``updated_at`` increases in any case."""
    conn.execute(
        update(datastore)
        .where(datastore.c.key == store.key)
        .values(lambda_authorizer_arn=arn, updated_at=max(now, store.updated_at + 1))
    )


def has_image_sets(conn: Connection, key: int) -> bool:
    """Whether the data store has an undeleted image set; a deleted one has no series any more."""
    found = exists().where(image_set.c.datastore == key, image_set.c.series_instance_uid.is_not(None))
    return bool(conn.execute(select(found)).scalar())


def has_running_jobs(conn: Connection, key: int) -> bool:
    """Whether an import job of the data store is submitted or in progress."""
    found = exists().where(import_job.c.datastore == key, import_job.c.status.in_(_RUNNING))
    return bool(conn.execute(select(found)).scalar())


def find_by_name(conn: Connection, name: str) -> Sequence[DataStore]:
    """The undeleted data stores of this name, oldest first; names need not be unique."""
    statement = (
        select(*_COLUMNS)
        .where(datastore.c.name == name, datastore.c.status != DatastoreStatus.DELETED)
        .order_by(datastore.c.created_at, datastore.c.key)
    )
    return [_store(row) for row in conn.execute(statement)]


def in_vain_with_kms_key(conn: Connection) -> Sequence[DataStore]:
    """The data stores that name a KMS key but have none of ours, oldest first; deleted ones apart."""
    has_key = exists().where(data_key.c.datastore == datastore.c.key)
    statement = (
        select(*_COLUMNS)
        .where(datastore.c.kms_key_arn.is_not(None), datastore.c.status != DatastoreStatus.DELETED, ~has_key)
        .order_by(datastore.c.created_at, datastore.c.key)
    )
    return [_store(row) for row in conn.execute(statement)]


def _store(row: Any) -> DataStore:
    values = dict(row._mapping)
    values["status"] = DatastoreStatus(values["status"])
    values["storage_format"] = StorageFormat(values["storage_format"])
    return DataStore(**values)


def with_authorizers(conn: Connection, most: int = 1000) -> Sequence[tuple[str, str, str]]:
    """(authorizer's ARN, id, name) of at most ``most`` data stores that have one and are not deleted."""
    rows = conn.execute(
        select(datastore.c.lambda_authorizer_arn, datastore.c.id, datastore.c.name)
        .where(datastore.c.lambda_authorizer_arn.is_not(None), datastore.c.status.in_(_NOT_DELETED))
        .order_by(datastore.c.name, datastore.c.id)
        .limit(most)
    )
    return [(row[0], row[1], row[2]) for row in rows]
