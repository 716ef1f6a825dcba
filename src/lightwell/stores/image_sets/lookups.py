"""Reading image sets and their versions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Integer, Row, Select, and_, bindparam, func, or_, select, update

from lightwell.domain.image_sets.image_set import Identity, ImageSet, Summary, Version
from lightwell.domain.keys import ImageSetKey
from lightwell.domain.states import ImageSetState, JobStatus, Origin, WorkflowStatus
from lightwell.errors import StorageError
from lightwell.stores.db.bulk import batches
from lightwell.stores.db.errors import misplaced
from lightwell.stores.db.look_up import LookUp
from lightwell.stores.db.tables import datastore, image_set, import_job, member, record, staged, version
from lightwell.stores.keys.job_values import opened_grouping

_SET = tuple(image_set.c[name] for name in ImageSet.__slots__)
_VERSION = tuple(version.c[name] for name in Version.__slots__)
SUMMARY = tuple(
    image_set.c["readable_version" if name == "version" else name].label(name) for name in Summary.__slots__
)

MARK = "COALESCE(v.mark, v.created_at, 0)"
"""What tells a version ``v`` from another one of the same set and number.

After a failover to a standby that lacked the last moments, or once a backup is restored, the next version of
a set gets a number that another version had before. Whatever is kept of a version outside the database goes
by its mark too: the number alone would find the document of the version that is lost.
"""

_MARK = func.coalesce(version.c.mark, version.c.created_at, 0)
_GET: Select[Any] = (
    select(*_SET)
    .join(datastore, datastore.c.key == image_set.c.datastore)
    .where(image_set.c.id == bindparam("id"), datastore.c.id == bindparam("datastore_id"))
)
_GET_MARKED: Select[Any] = _GET.add_columns(_MARK).outerjoin(
    version,
    and_(
        version.c.image_set == image_set.c.key,
        version.c.number == func.coalesce(bindparam("number", type_=Integer), image_set.c.readable_version),
    ),
)
_MARK_OF: Select[Any] = select(_MARK).where(
    version.c.image_set == bindparam("key"), version.c.number == bindparam("number")
)
_FIND: Select[Any] = (
    select(datastore.c.id, *_SET)
    .join(datastore, datastore.c.key == image_set.c.datastore)
    .where(image_set.c.id == bindparam("id"))
)
_WHOM = (image_set.c.patient_id, image_set.c.study_instance_uid, image_set.c.series_instance_uid)
_IDENTITY: Select[Any] = (
    select(image_set.c.key, *_WHOM)
    .join(datastore, datastore.c.key == image_set.c.datastore)
    .where(image_set.c.id == bindparam("id"), datastore.c.id == bindparam("datastore_id"))
)
_IDENTITY_OF: Select[Any] = select(image_set.c.readable_version, image_set.c.id, *_WHOM).where(
    image_set.c.key == bindparam("key")
)
_SUMMARY: Select[Any] = select(*SUMMARY).where(image_set.c.key == bindparam("key"))
_GET_VERSION: Select[Any] = select(*_VERSION).where(
    version.c.image_set == bindparam("key"), version.c.number == bindparam("number")
)
_VERSIONS: Select[Any] = (
    select(*_VERSION)
    .where(version.c.image_set == bindparam("key"), version.c.number < bindparam("below"))
    .order_by(version.c.number.desc())
    .limit(bindparam("limit"))
)
_RUNNING: Select[Any] = (
    select(import_job.c.key)
    .where(import_job.c.datastore == bindparam("store"), import_job.c.status == JobStatus.IN_PROGRESS)
    .limit(1)
)
_WAITING: Select[Any] = (
    select(staged.c.job, staged.c.grouping)
    .join(import_job, import_job.c.key == staged.c.job)
    .where(
        import_job.c.datastore == bindparam("store"),
        import_job.c.status == JobStatus.IN_PROGRESS,
        staged.c.study_instance_uid == bindparam("study"),
        staged.c.series_instance_uid == bindparam("series"),
    )
    .distinct()
)
_BELOW_ALL = 2**31 - 1

IS_OWN = """(m.pixels = m.record
 OR m.pixels = (SELECT r.pixels FROM record r WHERE r.key = m.record))"""
"""Of a member ``m`` with pixels: that they are its record's, whose key they mostly have."""

IdentityRow = tuple[ImageSetKey, str | None, str | None, str | None]
"""The key of a set, and PatientID, StudyInstanceUID and SeriesInstanceUID of its readable version."""

FRAME_LOOK_UP = LookUp(
    "SELECT s.key, s.patient_id, s.study_instance_uid, s.series_instance_uid, s.datastore FROM image_set s"
    " WHERE s.id = ? AND s.state = 'ACTIVE'"
    " AND s.datastore = (SELECT d.key FROM datastore d WHERE d.id = ?)"
    " AND (EXISTS (SELECT 1 FROM member m WHERE m.image_set = s.key AND m.instance = ? AND m.pixels = ?"
    f" AND {IS_OWN})"
    " OR EXISTS (SELECT 1 FROM member m WHERE m.image_set = s.key AND m.pixels = ?"
    f" AND m.pixels <> m.instance AND {IS_OWN}))"
)
"""For `Database.look_up` (image set id, data store id, and the pixels key three times): the members of an
`IdentityRow`, and the key of the data store, in which the pixels must be (`FramePage.datastore`),
where a frame of these pixels may be read through this set: it exists, is not deleted, and an instance of some
version of it has them. Most pixels have the same key as their instance; the others are found by an index."""

_READABLE = (
    "SELECT s.key, s.patient_id, s.study_instance_uid, s.series_instance_uid, v.number,"
    f" {MARK} FROM image_set s, version v WHERE s.id = ? AND s.state = 'ACTIVE'"
    " AND s.datastore = (SELECT d.key FROM datastore d WHERE d.id = ?) AND v.image_set = s.key"
    " AND v.number = s.readable_version"
)
READABLE_LOOK_UP = LookUp(_READABLE)
"""For `Database.look_up` (image set id, data store id): the members of an `IdentityRow`, and number and mark
of the readable version of a set that is not deleted.
"""

VERSION_LOOK_UP = LookUp(_READABLE + " AND v.number = ?")
"""The same where the number of the readable version is the third parameter. An older version may be about
another patient, of whom the row of the set says nothing."""


def _image_set(row: Sequence[Any]) -> ImageSet:
    values = dict(zip(ImageSet.__slots__, row, strict=True))
    values["origin"], values["state"] = Origin(values["origin"]), ImageSetState(values["state"])
    return ImageSet(**values)


def _version(row: Sequence[Any]) -> Version:
    values = dict(zip(Version.__slots__, row, strict=True))
    values["workflow_status"] = WorkflowStatus(values["workflow_status"])
    return Version(**values)


def get(conn: Connection, datastore_id: str, image_set_id: str) -> ImageSet | None:
    """The set of that id in that data store, deleted or not."""
    row = conn.execute(_GET, {"id": image_set_id, "datastore_id": datastore_id}).one_or_none()
    return None if row is None else _image_set(row)


def get_marked(
    conn: Connection, datastore_id: str, image_set_id: str, number: int | None
) -> tuple[ImageSet, int] | None:
    """`get`, and the mark of a version, by default of the readable one; 0 if there is no such version."""
    row = conn.execute(
        _GET_MARKED, {"id": image_set_id, "datastore_id": datastore_id, "number": number}
    ).one_or_none()
    return None if row is None else (_image_set(row[:-1]), row[-1])


def check_pixels(conn: Connection, key: ImageSetKey, pixels: int) -> None:
    """Raise `DamagedError` where members of a set name these pixels, and none of their records does."""
    query = (
        select(func.count(), func.count(record.c.key))
        .select_from(member)
        .outerjoin(record, and_(record.c.key == member.c.record, record.c.pixels == member.c.pixels))
        .where(member.c.image_set == key, member.c.pixels == pixels)
    )
    named, own = conn.execute(query).one()
    if named and not own:
        raise misplaced(key, "other pixels than its instance came with")


def find(conn: Connection, image_set_id: str) -> tuple[str, ImageSet] | None:
    """The id of its data store and the set of that id, deleted or not."""
    row = conn.execute(_FIND, {"id": image_set_id}).one_or_none()
    return None if row is None else (row[0], _image_set(row[1:]))


def undeleted(
    conn: Connection, datastore_key: int, after: tuple[str, int] | None, limit: int
) -> Sequence[Row[str, int, str, int, int]]:
    """Image sets of a data store by series and key, each with ``id``, ``latest_version`` and
    ``instance_count``: also those without content, which no search finds. ``after``: series and key.
    """
    uid, key = image_set.c.series_instance_uid, image_set.c.key
    wanted = [image_set.c.datastore == datastore_key, uid.is_not(None)]  # a deleted one has no series
    if after is not None:
        wanted += [uid >= after[0], or_(uid > after[0], key > after[1])]
    columns = (uid, key, image_set.c.id, image_set.c.latest_version, image_set.c.instance_count)
    return conn.execute(select(*columns).where(*wanted).order_by(uid, key).limit(limit)).all()


def primary_siblings(conn: Connection, datastore_id: str, image_set_id: str, *, of_series: bool) -> list[str]:
    """The ids of the primary sets of the set's study, or with ``of_series`` of its series."""
    named = image_set.alias()
    same = [image_set.c.study == named.c.study]
    if of_series:
        same.append(image_set.c.series_instance_uid == named.c.series_instance_uid)
    rows = conn.execute(
        select(image_set.c.id)
        .join(named, and_(*same))
        .join(datastore, datastore.c.key == named.c.datastore)
        .where(
            named.c.id == image_set_id,
            datastore.c.id == datastore_id,
            image_set.c.is_primary,
            image_set.c.state == ImageSetState.ACTIVE,
        )
    )
    return [row[0] for row in rows]


def summary(conn: Connection, key: ImageSetKey) -> Summary:
    """The search columns of one set."""
    return Summary(*conn.execute(_SUMMARY, {"key": key}).one())


def get_version(conn: Connection, key: ImageSetKey, number: int) -> Version | None:
    row = conn.execute(_GET_VERSION, {"key": key, "number": number}).one_or_none()
    return None if row is None else _version(row)


def identity(conn: Connection, datastore_id: str, image_set_id: str) -> tuple[ImageSetKey, Identity] | None:
    """The key of a set, deleted or not, and whom it is about; None if there is no such set."""
    row = conn.execute(_IDENTITY, {"id": image_set_id, "datastore_id": datastore_id}).one_or_none()
    return None if row is None else (row[0], Identity(image_set_id, *row[1:]))


def identity_of(conn: Connection, key: ImageSetKey) -> tuple[int, Identity]:
    """The readable version of the set with this key, and whom it is about.

    Raises `StorageError` where its row is gone.
    """
    row = conn.execute(_IDENTITY_OF, {"key": key}).one_or_none()
    if row is None:
        raise StorageError("The database has lost an image set; run `lightwell data verify`.")
    return row[0], Identity(*row[1:])


def mark_of(conn: Connection, key: ImageSetKey, number: int) -> int:
    """The mark of a version; 0 if it is lost."""
    return conn.execute(_MARK_OF, {"key": key, "number": number}).scalar() or 0


def versions(conn: Connection, key: ImageSetKey, *, below: int | None, limit: int) -> list[Version]:
    """At most ``limit`` versions, newest first; only those numbered under ``below`` where that is given."""
    below = _BELOW_ALL if below is None else min(below, _BELOW_ALL)
    rows = conn.execute(_VERSIONS, {"key": key, "below": below, "limit": limit})
    return [_version(row) for row in rows]


def awaits_instances(conn: Connection, found: ImageSet) -> bool:
    """Whether a running import has read instances that it will add to this set.

    Imports add to sets of origin import with the same seven grouping values.
    """
    if found.deleted or found.origin != Origin.IMPORT or not found.readable_version:
        return False
    if conn.execute(_RUNNING, {"store": found.datastore}).first() is None:
        return False
    grouping = summary(conn, found.key).grouping
    rows = conn.execute(
        _WAITING,
        {
            "store": found.datastore,
            "study": grouping.study_instance_uid,
            "series": grouping.series_instance_uid,
        },
    )
    wanted = json.loads(grouping.to_json())
    return any(json.loads(opened_grouping(conn, *row)) == wanted for row in rows)


def set_last_accessed(conn: Connection, keys: Sequence[int], now: int) -> None:
    """Record when the content of these sets was last read."""
    for some in batches(keys):
        conn.execute(
            update(image_set)
            .where(
                image_set.c.key.in_(some),
                image_set.c.state == ImageSetState.ACTIVE,
                image_set.c.last_accessed_at < now,
            )
            .values(last_accessed_at=now)
        )
