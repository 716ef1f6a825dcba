"""Rows of ``study``, whose locks protect the writing of image sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, or_, select

from lightwell.domain.image_sets.search_columns import SearchColumns
from lightwell.domain.keys import ImageSetKey, StudyKey
from lightwell.domain.states import ImageSetState
from lightwell.stores.background import gc_candidates
from lightwell.stores.db.bulk import insert_missing
from lightwell.stores.db.tables import image_set, study

_COMPARED = ("patient_id", "study_date", "accession_number", "study_id")
_LOCK = (
    select(study.c.study_instance_uid, study.c.key)
    .where(
        study.c.datastore == bindparam("datastore"),
        study.c.study_instance_uid.in_(bindparam("uids", expanding=True)),
    )
    .order_by(study.c.key)
    .with_for_update()
)


def lock(conn: Connection, datastore: int, studies: Mapping[str, StudyKey]) -> dict[str, StudyKey]:
    """The keys of studies by StudyInstanceUID, locked in key order until the transaction ends.

    ``studies`` gives for each the key under which it is inserted if it is new. SQLite has one writer at a
    time; there the transaction itself is the lock.
    """
    gc_candidates.lock_shared(conn)
    insert_missing(
        conn,
        study,
        [{"key": key, "datastore": datastore, "study_instance_uid": uid} for uid, key in studies.items()],
        ["datastore", "study_instance_uid"],
    )
    rows = conn.execute(_LOCK, {"datastore": datastore, "uids": list(studies)})
    return {uid: key for uid, key in rows}


def is_contradicted(
    conn: Connection, study_key: StudyKey, columns: SearchColumns, *, apart_from: ImageSetKey | None = None
) -> bool:
    """Whether a primary set of the study has another PatientID, StudyDate, AccessionNumber or StudyID.

    ``apart_from`` is the key of a set that does not count.
    """
    query = _contradicting(study_key, columns)
    if apart_from is not None:
        query = query.where(image_set.c.key != apart_from)
    return conn.execute(query.limit(1)).first() is not None


def contradicting_series(
    conn: Connection, study_key: StudyKey, columns: SearchColumns, series_instance_uid: str, most: int
) -> list[str]:
    """The ids of at most ``most`` primary sets of other series that make `is_contradicted` true."""
    query = _contradicting(study_key, columns).where(image_set.c.series_instance_uid != series_instance_uid)
    return [row.id for row in conn.execute(query.order_by(image_set.c.key).limit(most))]


def contradicting(
    conn: Connection, study_key: StudyKey, columns: SearchColumns, *, apart_from: ImageSetKey
) -> list[ImageSetKey]:
    """The keys of all primary sets that make `is_contradicted` true."""
    query = _contradicting(study_key, columns).where(image_set.c.key != apart_from)
    return list(conn.execute(query.order_by(image_set.c.key)).scalars())


def grouping_of(columns: SearchColumns) -> tuple[str, ...]:
    """In what all primary sets of a study are equal."""
    return tuple(getattr(columns, name) or "" for name in _COMPARED)


def _contradicting(study_key: StudyKey, columns: SearchColumns) -> Select[Any]:
    t = image_set.c
    differs = [func.coalesce(t[name], "") != (getattr(columns, name) or "") for name in _COMPARED]
    return select(t.key, t.id).where(
        t.study == study_key, t.is_primary, t.state == ImageSetState.ACTIVE, or_(*differs)
    )
