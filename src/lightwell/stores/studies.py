"""Rows of ``study``: the lock under which image sets of a study are written."""

from __future__ import annotations

from sqlalchemy import Connection, select

from lightwell.stores.rows import insert_missing
from lightwell.stores.tables import study


def lock(conn: Connection, datastore: int, study_instance_uid: str, new_key: int) -> int:
    """The key of the study, made under ``new_key`` if it is not there yet, and locked until the commit.

    SQLite has one writer at a time; there the transaction itself is the lock.
    """
    insert_missing(
        conn,
        study,
        [{"key": new_key, "datastore": datastore, "study_instance_uid": study_instance_uid}],
        ["datastore", "study_instance_uid"],
    )
    return int(
        conn.execute(
            select(study.c.key)
            .where(study.c.datastore == datastore, study.c.study_instance_uid == study_instance_uid)
            .with_for_update()
        ).scalar_one()
    )
