"""A new version of an image set: the set locked at its latest version, and the version written.

Every operation that changes image sets does the following in one transaction (`Database.write`):

1. `open_sets` (and `open_primaries` for all primary sets of a study) locks the study rows in key order,
   then the sets in key order, then checks the versions that the caller named.
2. `attempt` makes the change itself, with the functions of `members`, in a savepoint: a fault of ours
   inside it undoes the change only.
3. `write_version` raises the set to its next version, succeeded or failed. A failed version has the content
   of the one before.
4. `Announcer` writes the events, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, or_, select

from lightwell.domain.events import EventHeader, ImageSetDetail, ImageSetEventType, image_set_event
from lightwell.domain.keys import ImageSetKey, StudyKey
from lightwell.domain.states import ImageSetState, Origin, WorkflowStatus
from lightwell.errors import ApiError, LightwellError
from lightwell.stores.account import datastores
from lightwell.stores.background import gc_candidates, outbox
from lightwell.stores.db.bulk import insert_missing
from lightwell.stores.db.errors import is_failure
from lightwell.stores.db.tables import datastore, image_set, study
from lightwell.stores.image_sets import writing
from lightwell.stores.image_sets.writing import NO_CHANGE, ImageSetChange, NewVersion

STALE = "Requested version(s) of ImageSet(s) is not the latest."
"""Observed at the service, which answers with ResourceNotFoundException."""


class ImageSetNotFound(LightwellError):
    """The data store or image set does not exist, the set is deleted, or the version is not its latest."""


class ImageSetWithoutContent(LightwellError):
    """No version of the image set has content, so there is nothing to change."""


@dataclass(frozen=True, slots=True)
class LockedImageSet:
    """An image set that is not deleted and has content, locked until the transaction ends.

    The values of search columns are those of its newest version with content.
    """

    key: ImageSetKey
    id: str
    datastore: int
    study: StudyKey
    study_instance_uid: str
    series_instance_uid: str
    origin: Origin
    is_primary: bool
    latest_version: int
    readable_version: int
    created_at: int
    instance_count: int

    @property
    def number(self) -> int:
        """The number of the version that is being made."""
        return self.latest_version + 1

    def next_version(
        self,
        status: WorkflowStatus,
        *,
        caller: str,
        now: int,
        message: str | None = None,
        forced: bool | None = None,
    ) -> NewVersion:
        """The version that is being made, as it ended."""
        return NewVersion(
            number=self.number,
            workflow_status=status,
            caller=caller,
            created_at=now,
            message=message,
            forced=forced,
        )


_FIELDS = tuple(image_set.c[name] for name in LockedImageSet.__slots__)
_STATE: Select[Any] = select(*_FIELDS, image_set.c.state)


def open_sets(
    conn: Connection,
    datastore_id: str,
    wanted: Mapping[str, int],
    *,
    studies: Mapping[str, StudyKey] | None = None,
) -> dict[str, LockedImageSet]:
    """Lock image sets; by id. ``wanted``: by id, the version that the caller takes for the set's latest.

    ``studies`` names other studies to lock with theirs, by StudyInstanceUID, each with the key under which
    it is inserted if it is new; `study_keys` then finds their keys. Raises `ImageSetNotFound` and
    `ImageSetWithoutContent`, the former for a version that is not the latest too, in the service's own
    words.
    """
    while True:
        before = _rows(conn, datastore_id, wanted)
        _lock_studies(conn, before, studies or {})
        rows = {
            row.id: row
            for row in conn.execute(
                _STATE.where(image_set.c.key.in_([row.key for row in before.values()]))
                .order_by(image_set.c.key)
                .with_for_update()
            )
        }
        # A set may have moved to another study just before its lock was taken; that study is not locked.
        if all(rows[id].study == before[id].study for id in wanted):
            break
    return {id: _checked(rows[id], number) for id, number in wanted.items()}


def look_up(conn: Connection, datastore_id: str, id: str, number: int) -> LockedImageSet:
    """The set as `open_sets` returns it, with the same errors but not locked: to see what would be changed.

    A version never changes: its content is the same when the set is then opened at this version.
    """
    return _checked(_rows(conn, datastore_id, {id: number})[id], number)


def _checked(row: Any, number: int) -> LockedImageSet:
    if row.state != ImageSetState.ACTIVE:
        raise ImageSetNotFound(f"Image set {row.id} is deleted.")
    if number != row.latest_version:
        raise ImageSetNotFound(STALE)
    if not row.readable_version:
        raise ImageSetWithoutContent(
            f"Image set {row.id} has no content because the operation that should have made it failed: "
            "delete it and make it again. GetImageSet shows what happened."
        )
    return _locked(row)


def _locked(row: Any) -> LockedImageSet:
    values = dict(row._mapping)
    del values["state"]
    values["origin"] = Origin(values["origin"])
    return LockedImageSet(**values)


def open_primaries(conn: Connection, study_key: StudyKey) -> list[LockedImageSet]:
    """All primary sets of a study, locked in key order; the study must be locked already."""
    rows = conn.execute(
        _STATE.where(
            image_set.c.study == study_key, image_set.c.is_primary, image_set.c.state == ImageSetState.ACTIVE
        )
        .order_by(image_set.c.key)
        .with_for_update()
    )
    return [_locked(row) for row in rows]


def study_keys(conn: Connection, datastore_key: int, uids: Sequence[str]) -> dict[str, StudyKey]:
    """The keys of studies by StudyInstanceUID; unknown studies are left out."""
    rows = conn.execute(
        select(study.c.study_instance_uid, study.c.key).where(
            study.c.datastore == datastore_key, study.c.study_instance_uid.in_(uids)
        )
    )
    return {uid: key for uid, key in rows}


def _rows(conn: Connection, datastore_id: str, wanted: Mapping[str, int]) -> dict[str, Any]:
    found = {
        row.id: row
        for row in conn.execute(
            _STATE.join(datastore, datastore.c.key == image_set.c.datastore).where(
                image_set.c.id.in_(list(wanted)), datastore.c.id == datastore_id
            )
        )
    }
    for id in wanted:
        if id not in found:
            raise _unknown(conn, datastore_id, id)
    return found


def _unknown(conn: Connection, datastore_id: str, id: str) -> ImageSetNotFound:
    if datastores.get(conn, datastore_id) is None:
        return ImageSetNotFound(
            f"Data store {datastore_id} does not exist; ListDatastores shows which ones do."
        )
    return ImageSetNotFound(
        f"Image set {id} does not exist in data store {datastore_id}; SearchImageSets lists those that do."
    )


def _lock_studies(conn: Connection, sets: Mapping[str, Any], others: Mapping[str, StudyKey]) -> None:
    rows = list(sets.values())
    if others:
        gc_candidates.lock_shared(conn)
        insert_missing(
            conn,
            study,
            [
                {"key": key, "datastore": rows[0].datastore, "study_instance_uid": uid}
                for uid, key in others.items()
            ],
            ["datastore", "study_instance_uid"],
        )
    if conn.dialect.name == "sqlite":
        return  # a write transaction is alone on SQLite
    these = or_(
        study.c.key.in_({row.study for row in rows}),
        and_(study.c.datastore == rows[0].datastore, study.c.study_instance_uid.in_(list(others))),
    )
    conn.execute(select(study.c.key).where(these).order_by(study.c.key).with_for_update()).all()


def attempt(conn: Connection, change: Callable[[], None]) -> Exception | None:
    """Make ``change``. If it fails by a fault of ours, undo only the change and return what was raised.

    An `ApiError` refuses the whole request and is passed on, as is a failure of the database, after which the
    transaction may be run again.
    """
    savepoint = conn.begin_nested()
    try:
        change()
        savepoint.commit()
    except Exception as error:
        if isinstance(error, ApiError) or is_failure(error):
            raise
        savepoint.rollback()
        return error
    return None


def write_version(
    conn: Connection,
    opened: LockedImageSet,
    new: NewVersion,
    change: ImageSetChange = NO_CHANGE,
    *,
    is_access: bool = True,
) -> None:
    """Raise the set to version ``opened.number``; see `writing.add_version`."""
    assert new.number == opened.number
    if change.study is not None:
        gc_candidates.add(conn, gc_candidates.STUDY, [opened.study], new.created_at)
    writing.add_version(conn, opened.key, new, change, is_access=is_access)


class Announcer:
    """Writes the events of one transaction to the outbox, in the order of its calls."""

    def __init__(
        self,
        conn: Connection,
        *,
        region: str,
        account: str,
        datastore_id: str,
        new_id: Callable[[], str],
        now: int,
    ) -> None:
        self._conn = conn
        self._region = region
        self._account = account
        self._datastore_id = datastore_id
        self._new_id = new_id
        self._now = now

    def image_set(self, detail_type: ImageSetEventType, detail: ImageSetDetail) -> None:
        """``Image Set Updating``, ``Image Set Updated`` and so on."""
        header = EventHeader(
            id=self._new_id(),
            now=self._now,
            region=self._region,
            account=self._account,
            datastore_id=self._datastore_id,
        )
        outbox.append(self._conn, image_set_event(detail_type, header, detail))
