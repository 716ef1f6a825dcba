"""Image sets by the UIDs of their study and series, as DICOMweb names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, func, select

from lightwell.domain.keys import ImageSetKey, StudyKey
from lightwell.domain.states import ImageSetState
from lightwell.stores.db.look_up import LookUp
from lightwell.stores.db.tables import datastore, image_set, version
from lightwell.stores.db.validity import holds_in_sql


@dataclass(frozen=True, slots=True)
class SeriesSet:
    """The readable version of an image set, which holds a series or a part of one.

    ``key``, ``datastore`` and ``study`` are keys of rows; the UIDs are those of the version. ``mark`` is
    `lookups.MARK` of the version, ``patient_id`` its PatientID.
    """

    key: ImageSetKey
    id: str
    datastore: int
    datastore_id: str
    study: StudyKey
    study_instance_uid: str
    series_instance_uid: str
    version: int
    is_primary: bool
    mark: int
    patient_id: str | None = None


_ALL_SETS: Select[Any] = (
    select(
        image_set.c.key,
        image_set.c.id,
        image_set.c.datastore,
        datastore.c.id,
        image_set.c.study,
        image_set.c.study_instance_uid,
        image_set.c.series_instance_uid,
        image_set.c.readable_version,
        image_set.c.is_primary,
        func.coalesce(version.c.mark, version.c.created_at, 0),
        image_set.c.patient_id,
        image_set.c.series_number,
    )
    .join(datastore, datastore.c.key == image_set.c.datastore)
    .outerjoin(
        version,
        and_(version.c.image_set == image_set.c.key, version.c.number == image_set.c.readable_version),
    )
    .where(
        datastore.c.id == bindparam("datastore_id"),
        image_set.c.state == ImageSetState.ACTIVE,
        image_set.c.readable_version > 0,
    )
)
_BY_IDS: Select[Any] = _ALL_SETS.where(image_set.c.id.in_(bindparam("ids", expanding=True)))
_SERIES_SETS = _ALL_SETS.where(image_set.c.study_instance_uid == bindparam("study"))
_PRIMARY = _SERIES_SETS.where(image_set.c.is_primary)
_IN_SERIES = _SERIES_SETS.where(image_set.c.series_instance_uid == bindparam("series"))

ANOTHERS = -1
"""Instead of the key of pixels: a member names a record or pixels that are not its instance's."""

# Mostly instance, record and pixels have one key, and nothing more is looked up.
_OWN_PIXELS = (
    "CASE WHEN m.pixels IS NULL OR (m.pixels = m.record AND m.record = m.instance) OR EXISTS ("
    "SELECT 1 FROM record r WHERE r.key = m.record AND r.pixels = m.pixels AND (m.edits IS NOT NULL"
    " OR r.sop_instance_uid = (SELECT n.sop_instance_uid FROM instance n WHERE n.key = m.instance)))"
    f" THEN m.pixels ELSE {ANOTHERS} END"
)
_PIXELS = (
    f"SELECT s.key, {_OWN_PIXELS}, s.id, s.patient_id, s.datastore"
    " FROM datastore d, image_set s, instance i, member m"
    " WHERE d.id = ? AND s.datastore = d.key AND s.study_instance_uid = ? AND s.series_instance_uid = ?"
    " AND s.state = 'ACTIVE' AND i.datastore = d.key AND i.sop_instance_uid = ?"
    " AND m.image_set = s.key AND m.instance = i.key AND " + holds_in_sql("m", "s.readable_version")
)
# The instance is looked up by itself: joined, PostgreSQL may go through all instances of the set instead.
_PIXELS_APART = (
    f"SELECT s.key, {_OWN_PIXELS}, s.id, s.patient_id, s.datastore"
    " FROM datastore d, image_set s, member m"
    " WHERE d.id = ? AND s.datastore = d.key AND s.study_instance_uid = ? AND s.series_instance_uid = ?"
    " AND s.state = 'ACTIVE' AND m.image_set = s.key AND m.instance = (SELECT i.key FROM instance i"
    " WHERE i.datastore = s.datastore AND i.sop_instance_uid = ?) AND "
    + holds_in_sql("m", "s.readable_version")
)
_PRIMARY_ONLY, _BY_ID = " AND s.is_primary", " AND s.id = ?"

PIXELS_LOOK_UP = LookUp(_PIXELS_APART + _PRIMARY_ONLY, _PIXELS + _PRIMARY_ONLY)
"""For `Database.look_up` (data store id, study, series and SOP instance UID): the key of the series'
primary set, that of the pixels which the instance has in its readable version, NULL without pixels,
`ANOTHERS` where they are not its own; id and PatientID of the set, and the key of its data store."""

PIXELS_LOOK_UP_IN = LookUp(_PIXELS_APART + _BY_ID, _PIXELS + _BY_ID)
"""The same in the set whose id is the fifth parameter, primary or not."""


def of_study(conn: Connection, datastore_id: str, study: str) -> list[SeriesSet]:
    """The primary sets of a study, by SeriesNumber (those without one last), then by UID."""
    rows = conn.execute(_PRIMARY, {"datastore_id": datastore_id, "study": study}).all()
    return [SeriesSet(*row[:-1]) for row in sorted(rows, key=_sort_key)]


def of_ids(conn: Connection, datastore_id: str, ids: Sequence[str]) -> list[SeriesSet]:
    """Those of the sets with these ids that can be read, in no order."""
    rows = conn.execute(_BY_IDS, {"datastore_id": datastore_id, "ids": list(ids)})
    return [SeriesSet(*row[:-1]) for row in rows]


def of_series(conn: Connection, datastore_id: str, study: str, series: str) -> list[SeriesSet]:
    """All sets of a series, the primary one first, the others by id."""
    rows = conn.execute(_IN_SERIES, {"datastore_id": datastore_id, "study": study, "series": series})
    found = [SeriesSet(*row[:-1]) for row in rows]
    return sorted(found, key=lambda each: (not each.is_primary, each.id))


def _sort_key(row: Any) -> tuple[bool, int, str]:
    try:
        number = int(row.series_number)
    except (TypeError, ValueError):
        return True, 0, row.series_instance_uid
    return False, number, row.series_instance_uid
