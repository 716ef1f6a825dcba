"""What a codec worker asks of the database while it reads: which instances are there already."""

from __future__ import annotations

from lightwell.codec_pool.messages import Existing, FindExisting
from lightwell.stores.db.database import Database
from lightwell.stores.image_sets import existing_instances


def answer(db: Database, datastore: int, asked: FindExisting) -> Existing:
    """What the image sets of a data store, by its key, hold of an instance."""
    uids = (asked.study_instance_uid, asked.series_instance_uid, asked.sop_instance_uid)
    with db.read() as conn:
        found = existing_instances.find(conn, datastore, *uids)
        return Existing(found, existing_instances.missing_uids(conn, datastore, asked.ahead))
