"""Data keys in the database, wrapped by a key provider. The newest of a data store that stands seals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from lightwell.domain.states import DatastoreStatus
from lightwell.errors import StorageError
from lightwell.sealing.providers.interface import DataKey, KeyPurpose
from lightwell.stores.db.bulk import insert_missing
from lightwell.stores.db.look_up import LookUp
from lightwell.stores.db.tables import data_key, datastore, image_set, import_job, pack

_COLUMNS = (
    data_key.c.key,
    data_key.c.number,
    data_key.c.provider,
    data_key.c.keeper,
    data_key.c.wrapped,
    datastore.c.id,
    datastore.c.kms_key_arn,
)
_ALL = select(*_COLUMNS).join(datastore, datastore.c.key == data_key.c.datastore)
_LIVING = _ALL.where(
    data_key.c.datastore == bindparam("of_datastore"), data_key.c.destroyed_at.is_(None)
).order_by(data_key.c.number.desc())
_NEWEST = _LIVING.limit(1)
_OF_SET = (
    select(datastore.c.id)
    .join(image_set, image_set.c.datastore == datastore.c.key)
    .where(image_set.c.key == bindparam("of_set"))
)
_NEWEST_OF_JOB = (
    _ALL.join(import_job, import_job.c.datastore == data_key.c.datastore)
    .where(import_job.c.key == bindparam("of_job"), data_key.c.destroyed_at.is_(None))
    .order_by(data_key.c.number.desc())
    .limit(1)
)
_NAMED = _ALL.where(data_key.c.key == bindparam("of_key"))

OF_PACK = LookUp(
    "SELECT p.data_key, p.seal, k.number, k.provider, k.keeper, k.wrapped, d.id, d.kms_key_arn,"
    " k.datastore <> p.datastore FROM pack p "
    "LEFT JOIN data_key k ON k.key = p.data_key LEFT JOIN datastore d ON d.key = k.datastore WHERE p.key = ?"
)
"""For `Database.look_up` (pack): the columns of its key as `of_row` takes them, its seal being the second;
and whether the key is another data store's."""


class KeyDestroyedError(StorageError):
    """The data store was deleted, and its key with it."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A row. ``keeper`` names the provider's key; ``wrapped`` is None once the key was destroyed."""

    key: int
    provider: str
    keeper: str
    wrapped: bytes | None
    purpose: KeyPurpose


def of_row(row: Sequence[Any]) -> StoredKey:
    """From the columns key, number, provider, keeper, wrapped, the data store's id and its kms_key_arn."""
    key, number, provider, keeper, wrapped, id, arn = row
    return StoredKey(
        key, provider, keeper, None if wrapped is None else bytes(wrapped), KeyPurpose(id, number, arn)
    )


def newest(conn: Connection, datastore_key: int) -> StoredKey | None:
    """The key that seals what is written to a data store now; None if it has none, or had it destroyed."""
    row = conn.execute(_NEWEST, {"of_datastore": datastore_key}).first()
    return None if row is None else of_row(row)


def newest_of_job(conn: Connection, job: int) -> StoredKey | None:
    """`newest` of the data store that a job imports into."""
    row = conn.execute(_NEWEST_OF_JOB, {"of_job": job}).first()
    return None if row is None else of_row(row)


def living(conn: Connection, datastore_key: int) -> list[StoredKey]:
    """The keys of a data store that were not destroyed, newest first."""
    return [of_row(row) for row in conn.execute(_LIVING, {"of_datastore": datastore_key})]


def of_store(conn: Connection, id: str) -> list[StoredKey]:
    """The keys of the data store with this id that were not destroyed, newest first."""
    rows = conn.execute(
        _ALL.where(datastore.c.id == id, data_key.c.destroyed_at.is_(None)).order_by(data_key.c.number.desc())
    )
    return [of_row(row) for row in rows]


def sealed_stores(conn: Connection) -> int:
    """How many data stores have a key that was not destroyed."""
    found = select(func.count(data_key.c.datastore.distinct())).where(data_key.c.destroyed_at.is_(None))
    return int(conn.execute(found).scalar_one())


def store_of_set(conn: Connection, image_set_key: int) -> str | None:
    """The id of the data store of an image set."""
    return conn.execute(_OF_SET, {"of_set": image_set_key}).scalar()


def named(conn: Connection, key: int) -> StoredKey | None:
    """The key of a row."""
    row = conn.execute(_NAMED, {"of_key": key}).first()
    return None if row is None else of_row(row)


def insert(
    conn: Connection, key: int, datastore_key: int, number: int, made: DataKey, provider: str, now: int
) -> bool:
    """Insert a key; False if another transaction has inserted one of this number meanwhile."""
    row = {
        "key": key,
        "datastore": datastore_key,
        "number": number,
        "provider": provider,
        "keeper": made.keeper,
        "wrapped": made.wrapped,
        "created_at": now,
    }
    return insert_missing(conn, data_key, [row], ["datastore", "number"]) == 1


def id_and_arn(conn: Connection, datastore_key: int) -> tuple[str, str | None]:
    """The id of a data store and its ``kmsKeyArn``, for a key that it is to have; neither ever changes.

    Raises `KeyDestroyedError` for one that was deleted, which gets none any more.
    """
    found = select(datastore.c.id, datastore.c.kms_key_arn, datastore.c.status)
    id, arn, status = conn.execute(found.where(datastore.c.key == datastore_key)).one()
    if status in (DatastoreStatus.DELETING, DatastoreStatus.DELETED):
        raise KeyDestroyedError(f"The data store {id} was deleted, and nothing is stored in it any more.")
    return id, arn


def next_number(conn: Connection, datastore_key: int) -> int:
    """The number of the key that a data store gets next; numbers of destroyed keys do not come again."""
    greatest = select(func.max(data_key.c.number)).where(data_key.c.datastore == datastore_key)
    return int(conn.execute(greatest).scalar() or 0) + 1


def exists(conn: Connection, provider: str) -> bool:
    """Whether a key of this provider is needed still."""
    found = select(data_key.c.key).where(data_key.c.provider == provider, data_key.c.destroyed_at.is_(None))
    return conn.execute(found.limit(1)).first() is not None


def samples(conn: Connection) -> list[StoredKey]:
    """One key of each keeper that is needed still."""
    keys = (
        select(func.min(data_key.c.key))
        .where(data_key.c.destroyed_at.is_(None))
        .group_by(data_key.c.provider, data_key.c.keeper)
    )
    return [of_row(row) for row in conn.execute(_ALL.where(data_key.c.key.in_(keys)))]


def page(conn: Connection, after: int, limit: int) -> list[StoredKey]:
    """Keys that were not destroyed, by their row keys, after one of them."""
    rows = conn.execute(
        _ALL.where(data_key.c.key > after, data_key.c.destroyed_at.is_(None))
        .order_by(data_key.c.key)
        .limit(limit)
    )
    return [of_row(row) for row in rows]


def put_wrapped(conn: Connection, old: StoredKey, wrapped: bytes, provider: str, keeper: str) -> bool:
    """Replace how a key is wrapped; False if it was replaced or destroyed meanwhile."""
    done = conn.execute(
        update(data_key)
        .where(data_key.c.key == old.key, data_key.c.wrapped == old.wrapped)
        .values(wrapped=wrapped, provider=provider, keeper=keeper)
    )
    return done.rowcount == 1


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key that was not destroyed, its data store's id and name, and how many packs it seals."""

    datastore: str
    name: str
    number: int
    provider: str
    keeper: str
    created_at: int
    packs: int


def listed(conn: Connection) -> list[ListedKey]:
    """All keys that were not destroyed, by data store, oldest first."""
    packs = select(func.count()).where(pack.c.data_key == data_key.c.key).scalar_subquery()
    rows = conn.execute(
        select(
            *(datastore.c.id, datastore.c.name, data_key.c.number, data_key.c.provider, data_key.c.keeper),
            *(data_key.c.created_at, packs),
        )
        .join(datastore, datastore.c.key == data_key.c.datastore)
        .where(data_key.c.destroyed_at.is_(None))
        .order_by(datastore.c.created_at, datastore.c.id, data_key.c.number)
    )
    return [ListedKey(*row) for row in rows]


def destroy(conn: Connection, datastore_key: int, now: int) -> int:
    """Destroy all keys of a data store. Returns how many. What they sealed cannot be read again."""
    done = conn.execute(
        update(data_key)
        .where(data_key.c.datastore == datastore_key, data_key.c.destroyed_at.is_(None))
        .values(wrapped=None, destroyed_at=now)
    )
    return done.rowcount
