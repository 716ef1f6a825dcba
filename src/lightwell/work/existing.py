"""What a codec worker asks of the database while it reads: which instances are there already."""

from __future__ import annotations

from lightwell.stores import duplicates
from lightwell.stores.database import Database
from lightwell.work.messages import Existing, FindExisting


def answer(db: Database, datastore: int, asked: FindExisting) -> Existing:
    """What the image sets of a data store, by its key, hold of an instance."""
    uids = (asked.study_instance_uid, asked.series_instance_uid, asked.sop_instance_uid)
    with db.read() as conn:
        found = duplicates.find(conn, datastore, *uids)
        return Existing(found, duplicates.unknown(conn, datastore, asked.ahead))
