"""Rows of ``instance``: one for each SOPInstanceUID that an image set of a data store has or had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, bindparam, select

from lightwell.domain.keys import InstanceKey
from lightwell.stores.background import gc_candidates
from lightwell.stores.db.bulk import batches, insert_missing
from lightwell.stores.db.tables import instance

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
