"""Rows behind the server's back, for what no client can bring about at will."""

from __future__ import annotations

from sqlalchemy import insert

from lightwell.clock import Ids
from lightwell.domain.datastore import DataStore
from lightwell.stores.account import datastores
from lightwell.stores.db import tables
from lightwell.stores.db.database import Database


def datastore(db: Database, id: str) -> DataStore:
    with db.read() as conn:
        found = datastores.get(conn, id)
    assert found is not None
    return found


def insert_image_set(db: Database, datastore_id: str) -> str:
    """An image set without content; answers its id."""
    row = {
        "key": Ids().key(),
        "id": Ids().id(),
        "datastore": datastore(db, datastore_id).key,
        "study": 1,
        "series_instance_uid": "1.2",
        "origin": "import",
        "is_primary": False,
        "state": "ACTIVE",
        "latest_version": 1,
        "readable_version": 0,
        "created_at": 0,
        "updated_at": 0,
        "last_accessed_at": 0,
        "instance_count": 0,
    }
    db.write(lambda conn: conn.execute(insert(tables.image_set), row))
    return str(row["id"])


def delete_image_set(db: Database, id: str) -> None:
    """What deleting an image set leaves of its row."""
    table = tables.image_set
    statement = table.update().where(table.c.id == id).values(state="DELETED", series_instance_uid=None)
    db.write(lambda conn: conn.execute(statement))


def insert_job(db: Database, datastore_id: str) -> None:
    """An import job that stays submitted: its phase is one that no engine takes."""
    row = {
        "key": Ids().key(),
        "id": Ids().id(),
        "datastore": datastore(db, datastore_id).key,
        "status": "SUBMITTED",
        "phase": "done",
        "role_arn": "",
        "input_uri": "",
        "output_uri": "",
        "caller": "",
        "submitted_at": 0,
        "scanned": 0,
        "read": 0,
    }
    db.write(lambda conn: conn.execute(insert(tables.import_job), row))
