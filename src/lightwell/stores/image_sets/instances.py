"""Rows of ``instance``: one for each SOPInstanceUID that an image set of a data store has or had; and whether
what a member names is its own.

A member names rows by their keys, and nothing but these keys says whose they are. So whoever reads compares
the data store of what it names with that of the set, its pixels with those of its record, and the
SOPInstanceUIDs of record and instance. An import gives instance, record and pixels one key: where these are
equal nothing has to be looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Select, bindparam, case, or_, select

from lightwell.domain.keys import ImageSetKey, InstanceKey
from lightwell.errors import StorageError
from lightwell.stores.background import gc_candidates
from lightwell.stores.db.bulk import batches, insert_missing
from lightwell.stores.db.errors import misplaced
from lightwell.stores.db.tables import image_set, instance, member, pixels, record
from lightwell.stores.db.validity import holds_in, is_open

OWN_STORE = select(image_set.c.datastore).where(image_set.c.key == bindparam("set")).scalar_subquery()
"""The data store of the image set ``:set``."""

APART = case((member.c.instance != member.c.record, member.c.instance))
"""The key of a member's instance where its SOPInstanceUID is to be compared by `check`, else NULL."""

IS_ANOTHERS = or_(
    record.c.datastore != OWN_STORE,
    pixels.c.datastore != OWN_STORE,
    record.c.pixels.is_distinct_from(member.c.pixels),
)
"""Of a member of the set ``:set``, joined with its record and outer-joined with its pixels."""

_UIDS = select(instance.c.key, instance.c.sop_instance_uid).where(
    instance.c.key.in_(bindparam("keys", expanding=True))
)
# Built once: to build it for some hundred UIDs costs more than to run it.
_KEYS = select(instance.c.sop_instance_uid, instance.c.key).where(
    instance.c.datastore == bindparam("datastore"),
    instance.c.sop_instance_uid.in_(bindparam("uids", expanding=True)),
)


def find_keys(conn: Connection, datastore: int, uids: Iterable[str]) -> dict[str, InstanceKey]:
    """The keys of instances by SOPInstanceUID; those that the data store does not have are left out."""
    found: dict[str, InstanceKey] = {}
    for some in batches(uids):
        rows = conn.execute(_KEYS, {"datastore": datastore, "uids": some})
        found.update((uid, key) for uid, key in rows)
    return found


def find_or_insert(
    conn: Connection, datastore: int, new_keys: Mapping[str, InstanceKey]
) -> dict[str, InstanceKey]:
    """The keys of instances by SOPInstanceUID; ``new_keys`` are those under which new ones go in.

    The transaction must hold `gc_candidates.lock_shared`.
    """
    found = find_keys(conn, datastore, new_keys)
    if found and gc_candidates.has_any(conn, gc_candidates.INSTANCE):
        gc_candidates.unmark(conn, gc_candidates.INSTANCE, found.values())
    missing = {uid: key for uid, key in new_keys.items() if uid not in found}
    if missing:
        rows = [{"key": key, "datastore": datastore, "sop_instance_uid": uid} for uid, key in missing.items()]
        insert_missing(conn, instance, rows, ["datastore", "sop_instance_uid"])
        found |= find_keys(conn, datastore, missing)
    return found


def check(conn: Connection, key: ImageSetKey, shown: Mapping[int, str]) -> None:
    """Compare SOPInstanceUIDs that records show, edited ones, with those of their members' instances, by key.

    Raises `DamagedError` where a member names the record of another instance.
    """
    kept: dict[int, str] = {}
    for some in batches(list(shown)):
        kept.update((found, uid) for found, uid in conn.execute(_UIDS, {"keys": some}))
    if kept != shown:
        raise misplaced(key, "the record of another instance")


def not_found(conn: Connection, key: ImageSetKey, version: int | None, lost: str) -> StorageError:
    """What to raise where a member's record or pixels are not found in its data store: they are another's, or
    ``lost`` says what is lost. ``version`` is None for the latest.
    """
    query: Select[Any] = (
        select(member.c.instance)
        .join(record, record.c.key == member.c.record)
        .outerjoin(pixels, pixels.c.key == record.c.pixels)
        .where(
            member.c.image_set == bindparam("set"),
            is_open(member) if version is None else holds_in(member, version),
            IS_ANOTHERS,
        )
        .limit(1)
    )
    if conn.execute(query, {"set": key}).first() is not None:
        return misplaced(key, "a record or pixels of another image set")
    return StorageError(f"The database has lost {lost}; run `lightwell data verify`.")
