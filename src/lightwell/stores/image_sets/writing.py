"""The one writer of ``image_set``, ``version`` and ``member`` rows.

Imports, copies and updates all add image sets, versions and members through these functions, one statement
each. The caller holds the locks: see `changes.open_sets` and `studies.lock`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, update

from lightwell.domain.image_sets.search_columns import SearchColumns
from lightwell.domain.keys import ImageSetKey, InstanceKey, PixelsKey, RecordKey, StudyKey
from lightwell.domain.states import ImageSetState, Origin, WorkflowStatus
from lightwell.stores.db.bulk import insert_many
from lightwell.stores.db.tables import image_set, member, version

# Built once: to build them costs as much as to run them.
_INSERT_VERSION = insert(version)
_CHANGE_SET = update(image_set).where(image_set.c.key == bindparam("of_set"))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """A row of ``version``. ``caller`` is the ARN of who made it; ``created_at`` is ms since the epoch.

    ``reverted_to`` is the version whose content it has again, ``copied_from`` the id of the set that was
    copied.
    """

    number: int
    workflow_status: WorkflowStatus
    caller: str
    created_at: int
    message: str | None = None
    forced: bool | None = None
    reverted_to: int | None = None
    copied_from: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewImageSet:
    """A row of ``image_set`` at version 1.

    Without content (``has_content``) no search finds it and nobody can read it. ``columns`` is None while it
    is not known what the set will show; `set_search_columns` then follows.
    """

    key: ImageSetKey
    id: str
    datastore: int
    study: StudyKey
    study_instance_uid: str
    series_instance_uid: str
    origin: Origin
    is_primary: bool
    has_content: bool = True
    instance_count: int = 0
    columns: SearchColumns | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSetChange:
    """What a version changes in the row of its image set; None for what stays as it is."""

    columns: SearchColumns | None = None
    series_instance_uid: str | None = None
    study: StudyKey | None = None
    instance_count: int | None = None


NO_CHANGE = ImageSetChange()


@dataclass(frozen=True, slots=True)
class NewMember:
    """An instance that a version adds to an image set. ``edits_z`` is what `edits.pack` gives."""

    instance: InstanceKey
    record: RecordKey
    pixels: PixelsKey | None
    edits_z: bytes | None = None


def insert_image_set(conn: Connection, new: NewImageSet, first: NewVersion) -> None:
    """Insert an image set and its version 1; its members and levels are inserted by the caller."""
    now = first.created_at
    row: dict[str, object] = {
        "key": new.key,
        "id": new.id,
        "datastore": new.datastore,
        "study": new.study,
        "study_instance_uid": new.study_instance_uid,
        "series_instance_uid": new.series_instance_uid,
        "origin": new.origin,
        "is_primary": new.is_primary,
        "state": ImageSetState.ACTIVE,
        "latest_version": 1,
        "readable_version": 1 if new.has_content else 0,
        "created_at": now,
        "updated_at": now,
        "last_accessed_at": now,
        "listed_in": new.datastore if new.has_content else None,
        "instance_count": new.instance_count,
    }
    if new.columns is not None:
        row |= new.columns.as_row()
    conn.execute(insert(image_set), row)
    _insert_version(conn, new.key, first)


def add_version(
    conn: Connection,
    image_set_key: ImageSetKey,
    new: NewVersion,
    change: ImageSetChange = NO_CHANGE,
    *,
    is_access: bool = True,
) -> None:
    """Insert a version, succeeded or failed, and raise its image set to it.

    A failed version has the content of the one before, so it becomes the readable one too. ``is_access``:
    whether making it counts as an access to the set (``lastAccessedAt``).
    """
    _insert_version(conn, image_set_key, new)
    values: dict[str, object] = {
        "latest_version": new.number,
        "readable_version": new.number,
        "updated_at": new.created_at,
    }
    if is_access:
        values["last_accessed_at"] = new.created_at
    if change.columns is not None:
        values |= change.columns.as_row()
    for name in ("series_instance_uid", "study", "instance_count"):
        value = getattr(change, name)
        if value is not None:
            values[name] = value
    conn.execute(_CHANGE_SET, {"of_set": image_set_key, **values})


def _insert_version(conn: Connection, image_set_key: ImageSetKey, new: NewVersion) -> None:
    conn.execute(
        _INSERT_VERSION,
        {
            "image_set": image_set_key,
            "number": new.number,
            "workflow_status": new.workflow_status,
            "message": new.message,
            "forced": new.forced,
            "caller": new.caller,
            "created_at": new.created_at,
            "mark": secrets.randbits(63),
            "reverted_to": new.reverted_to,
            "copied_from": new.copied_from,
        },
    )


def insert_members(
    conn: Connection, image_set_key: ImageSetKey, number: int, members: Iterable[NewMember]
) -> int:
    """Insert members that hold from version ``number`` on; returns how many.

    Raises IntegrityError if the set already has one of the instances.
    """
    rows = [
        {
            "image_set": image_set_key,
            "instance": each.instance,
            "valid_from": number,
            "valid_to": None,
            "record": each.record,
            "pixels": each.pixels,
            "edits": each.edits_z,
        }
        for each in members
    ]
    insert_many(conn, member, rows)
    return len(rows)


def set_search_columns(
    conn: Connection, image_set_key: ImageSetKey, columns: SearchColumns, instance_count: int
) -> None:
    """Let searches find a new set by what it shows, once it has content."""
    values = {**columns.as_row(), "instance_count": instance_count}
    conn.execute(update(image_set).where(image_set.c.key == image_set_key).values(values))
