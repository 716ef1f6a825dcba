"""Makes anew what image sets are found by, from what they show: `lightwell data verify --repair`."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from lightwell.errors import LightwellError
from lightwell.stores.collector import integrity
from lightwell.stores.db.tables import image_set
from lightwell.stores.image_sets.changes import ImageSetNotFound, ImageSetWithoutContent, open_sets
from lightwell.stores.integrity import faults, primary_rule, shown_content
from lightwell.stores.qido import index_repair


class NotRebuilt(LightwellError):
    """It cannot be proved what the rows of an image set should be."""


def rebuild(conn: Connection, datastore_id: str, id: str, now: int) -> bool:
    """Search columns, counts and the index of DICOMweb of an image set; False if there is nothing to do.

    In one transaction, which locks it as an update does. Raises `NotRebuilt`, and then nothing is changed,
    where what it shows is itself not what its records yield, or nothing proves whether it is primary.
    """
    row = conn.execute(select(image_set).where(image_set.c.id == id)).first()
    if row is None:
        return False
    try:
        open_sets(conn, datastore_id, {id: row.latest_version})
    except (ImageSetNotFound, ImageSetWithoutContent):
        return False  # it is deleted, or has changed meanwhile: the next run looks at it again
    if not integrity.faults_of_set(conn, row.key):
        return False
    if doubts := [*integrity.faults_of_content(conn, row), *primary_rule.doubts(conn, row)]:
        raise NotRebuilt("; ".join(doubts))
    conn.execute(
        update(image_set).where(image_set.c.key == row.key).values(shown_content.expected_columns(conn, row))
    )
    row = conn.execute(select(image_set).where(image_set.c.key == row.key)).one()
    index_repair.rebuild(conn, row, now)
    if left := integrity.faults_of_set(conn, row.key):
        raise NotRebuilt("; ".join(left))
    faults.forget_set(conn, row.key)
    return True
