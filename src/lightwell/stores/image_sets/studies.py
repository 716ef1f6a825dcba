"""Rows of ``study``: the lock under which image sets of a study are written."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, select

from lightwell.stores.background import gc_candidates
from lightwell.stores.db.bulk import insert_missing
from lightwell.stores.db.tables import study


def lock(conn: Connection, datastore: int, studies: Mapping[str, int]) -> dict[str, int]:
    """The keys of studies by StudyInstanceUID, locked in key order until the commit.

    ``studies`` gives for each the key under which it is made if it is not there yet. SQLite has one writer
    at a time; there the transaction itself is the lock.
    """
    gc_candidates.lock_shared(conn)
    insert_missing(
        conn,
        study,
        [{"key": key, "datastore": datastore, "study_instance_uid": uid} for uid, key in studies.items()],
        ["datastore", "study_instance_uid"],
    )
    rows = conn.execute(
        select(study.c.study_instance_uid, study.c.key)
        .where(study.c.datastore == datastore, study.c.study_instance_uid.in_(list(studies)))
        .order_by(study.c.key)
        .with_for_update()
    )
    return {uid: key for uid, key in rows}
