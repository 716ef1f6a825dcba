"""Removal of what deleted image sets and failed imports leave behind; `gc_candidates` says when it is safe.

`lock_set` and `delete_set` are for DeleteImageSet. Every other function is the body of one bounded
transaction, runs under `gc_candidates.lock_exclusive` and waits for no lock.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Column, Connection, Table, delete, exists, select, tuple_, update

from lightwell.domain.image_sets.image_set import ImageSet
from lightwell.domain.image_sets.search_columns import SearchColumns
from lightwell.domain.keys import ImageSetKey
from lightwell.domain.states import ImageSetState
from lightwell.stores.background import gc_candidates
from lightwell.stores.background.gc_candidates import (
    DICTIONARY,
    INSTANCE,
    LEVEL,
    PACK,
    PIXELS,
    RECORD,
    SET,
    STUDY,
    GcCandidate,
)
from lightwell.stores.db.tables import (
    datastore,
    dictionary,
    frame_table,
    image_set,
    instance,
    level,
    level_value,
    member,
    pixels,
    record,
    study,
    version,
)
from lightwell.stores.image_sets import lookups
from lightwell.stores.qido import grams, index

# The table and key column of each kind that a scan looks for.
_KEYS: dict[int, tuple[Table, Column[int]]] = {
    RECORD: (record, record.c.key),
    PIXELS: (pixels, pixels.c.key),
    DICTIONARY: (dictionary, dictionary.c.key),
    LEVEL: (level_value, level_value.c.key),
    INSTANCE: (instance, instance.c.key),
}
_NO_COLUMNS = dict.fromkeys(SearchColumns.__slots__)


def lock_set(conn: Connection, datastore_id: str, image_set_id: str) -> ImageSet | None:
    """The image set, deleted or not, locked with its study; None if it never existed."""
    while True:
        found = lookups.get(conn, datastore_id, image_set_id)
        if found is None or conn.dialect.name == "sqlite":
            return found
        conn.execute(select(study.c.key).where(study.c.key == found.study).with_for_update())
        conn.execute(select(image_set.c.key).where(image_set.c.key == found.key).with_for_update())
        locked = lookups.get(conn, datastore_id, image_set_id)
        # A set may have moved to another study just before its lock was taken; that study is not locked.
        if locked is not None and locked.study == found.study:
            return locked


def delete_set(conn: Connection, key: ImageSetKey, now: int) -> None:
    """Make a set that the caller has locked DELETED: no search finds it and nobody can read its content.

    Its rows stay for GetImageSet and ListImageSetVersions, without attributes.
    """
    conn.execute(
        update(image_set)
        .where(image_set.c.key == key)
        .values(
            state=ImageSetState.DELETED,
            deleted_at=now,
            updated_at=now,
            series_instance_uid=None,
            listed_in=None,
            instance_count=0,
            **_NO_COLUMNS,
        )
    )
    index.drop_set(conn, key, now)
    gc_candidates.add(conn, SET, [key], now)


def empty_set(conn: Connection, key: ImageSetKey, mark: int, limit: int) -> bool:
    """Remove at most ``limit`` members of a deleted set, or its levels; True when nothing of it is left."""
    state = conn.execute(select(image_set.c.state, image_set.c.study).where(image_set.c.key == key)).first()
    if state is None or state.state != ImageSetState.DELETED:
        gc_candidates.unmark(conn, SET, [key])
        return True
    place = tuple_(member.c.instance, member.c.valid_from)
    rows = conn.execute(
        select(member.c.instance, member.c.valid_from, member.c.record, member.c.pixels)
        .where(member.c.image_set == key)
        .order_by(member.c.instance, member.c.valid_from)
        .limit(limit)
    ).all()
    if rows:
        upto = tuple_(rows[-1].instance, rows[-1].valid_from)
        conn.execute(delete(member).where(member.c.image_set == key, place <= upto))
        gc_candidates.add(conn, RECORD, [row.record for row in rows], mark)
        gc_candidates.add(conn, PIXELS, [row.pixels for row in rows], mark)
        gc_candidates.add(conn, INSTANCE, [row.instance for row in rows], mark)
        return False
    if not index.empty_set(conn, key, limit):
        return False
    grams.forget(conn)
    bases = conn.execute(select(level.c.base).where(level.c.image_set == key)).scalars().all()
    conn.execute(delete(level).where(level.c.image_set == key))
    # The reason why an update or a copy failed may contain values of attributes.
    conn.execute(
        update(version).where(version.c.image_set == key, version.c.message.is_not(None)).values(message=None)
    )
    gc_candidates.add(conn, LEVEL, bases, mark)
    gc_candidates.add(conn, STUDY, [state.study], mark)
    gc_candidates.unmark(conn, SET, [key])
    return True


def deleted_ids(conn: Connection, keys: Sequence[int]) -> dict[int, tuple[str, str]]:
    """The ids of the data store and of the image set, for each of these sets that is deleted."""
    rows = conn.execute(
        select(image_set.c.key, datastore.c.id.label("store"), image_set.c.id)
        .join(datastore, datastore.c.key == image_set.c.datastore)
        .where(image_set.c.key.in_(keys), image_set.c.state == ImageSetState.DELETED)
    )
    return {row.key: (row.store, row.id) for row in rows}


def remove_unreferenced(conn: Connection, kind: int, rows: Sequence[GcCandidate], mark: int) -> int:
    """Remove records, pixels, dictionaries, level values or instances that a scan found unreferenced.

    Returns how many. What only they may have referred to is put on the list.
    """
    keys = gc_candidates.still_marked(conn, kind, rows)
    gc_candidates.unmark(conn, kind, keys)
    if kind == RECORD:
        _list_names(conn, keys, mark)
    elif kind == PIXELS:
        packs = conn.execute(select(pixels.c.pack).where(pixels.c.key.in_(keys))).scalars().all()
        gc_candidates.add(conn, PACK, packs, mark)
        conn.execute(delete(frame_table).where(frame_table.c.pixels.in_(keys)))
    table, column = _KEYS[kind]
    return conn.execute(delete(table).where(column.in_(keys))).rowcount


def _list_names(conn: Connection, keys: Sequence[int], mark: int) -> None:
    found = conn.execute(
        select(
            record.c.pixels,
            record.c.patient_value,
            record.c.study_value,
            record.c.series_value,
            record.c.dictionary,
            record.c.dicom_dictionary,
            record.c.pack,
        ).where(record.c.key.in_(keys))
    ).all()
    gc_candidates.add(conn, PIXELS, [row.pixels for row in found], mark)
    gc_candidates.add(conn, LEVEL, [value for row in found for value in row[1:4]], mark)
    gc_candidates.add(conn, DICTIONARY, [key for row in found for key in row[4:6]], mark)
    gc_candidates.add(conn, PACK, [row.pack for row in found], mark)


def unmark_referenced(conn: Connection, kind: int, rows: Sequence[GcCandidate]) -> None:
    """Take rows off the list that a scan found referenced."""
    gc_candidates.unmark(conn, kind, gc_candidates.still_marked(conn, kind, rows))


def remove_studies(conn: Connection, rows: Sequence[GcCandidate]) -> int:
    """Remove studies all of whose image sets are deleted; returns how many.

    Studies that another transaction has locked stay on the list.
    """
    keys = [row.key for row in rows]
    there = select(study.c.key).where(study.c.key.in_(keys))
    free = conn.execute(there.with_for_update(skip_locked=True)).scalars().all()
    living = exists().where(image_set.c.study == study.c.key, image_set.c.state == ImageSetState.ACTIVE)
    removed = conn.execute(delete(study).where(study.c.key.in_(free), ~living)).rowcount
    held = set(conn.execute(there).scalars()) - set(free)
    gc_candidates.unmark(conn, STUDY, [key for key in keys if key not in held])
    return removed


def is_active(conn: Connection, key: ImageSetKey) -> bool:
    """Whether the image set with this key exists and is not deleted."""
    there = select(image_set.c.key).where(image_set.c.key == key, image_set.c.state == ImageSetState.ACTIVE)
    return conn.execute(there).first() is not None
