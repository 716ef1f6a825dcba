"""What a codec worker asks of the database while it reads: which instances are there already?"""

from __future__ import annotations

from lightwell.codec_pool.messages import ExistingFound, FindExisting
from lightwell.stores.db.database import Database
from lightwell.stores.image_sets import existing_instances


def find(db: Database, datastore: int, asked: FindExisting) -> ExistingFound:
    """What the image sets of a data store, given by its key, have of an instance."""
    uids = (asked.study_instance_uid, asked.series_instance_uid, asked.sop_instance_uid)
    with db.read() as conn:
        found = existing_instances.find(conn, datastore, *uids)
        return ExistingFound(found, existing_instances.missing_uids(conn, datastore, asked.ahead))
