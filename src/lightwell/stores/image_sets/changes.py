"""A new version of an image set: the set opened for change under its locks, and the version written.

Every operation that changes sets does, in one transaction (`Database.write`):

1. `open_sets` (and `open_primaries` for all primary sets of a study): locks the study rows in key order, then
   the sets in key order, then checks the versions that the caller has named.
2. `attempt`: the change itself, with the functions of `contents`, in a savepoint: a fault of ours inside of
   it undoes the change only.
3. `write_version`: raises the set to its next version, succeeded or failed. A failed one has the content of
   the one before.
4. `Announcer`: the events, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, or_, select

from lightwell.domain.events import image_set_event
from lightwell.domain.image_sets.image_set import ACTIVE, FinalWorkflowStatus, Origin
from lightwell.errors import ApiError, ConflictError, NotFoundError
from lightwell.stores.account import datastores
from lightwell.stores.background import gc_candidates, outbox
from lightwell.stores.db.bulk import insert_missing
from lightwell.stores.db.errors import is_failure
from lightwell.stores.db.tables import datastore, image_set, study
from lightwell.stores.image_sets import writing
from lightwell.stores.image_sets.writing import NO_CHANGE, ImageSetChange, NewVersion

STALE = "Requested version(s) of ImageSet(s) is not the latest."
"""Observed at the service, which answers it with ResourceNotFoundException."""


@dataclass(frozen=True, slots=True)
class LockedImageSet:
    """An image set that is not deleted and has content, locked until the transaction ends.

    Search columns are those of its newest version with content.
    """

    key: int
    id: str
    datastore: int
    study: int
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
        status: FinalWorkflowStatus,
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
    studies: Mapping[str, int] | None = None,
) -> dict[str, LockedImageSet]:
    """Lock sets, named by id with the version that the caller takes for their latest; by id.

    ``studies`` names other studies to lock with theirs, by StudyInstanceUID, each with the key that it has if
    it is new; `study_keys` finds their keys then. Raises `NotFoundError` for a set that is not there or
    deleted and, with the service's own words, for a version that is not the latest; `ConflictError` for a
    set without content.
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
        # A set may move to another study just before its lock; that study is not locked then.
        if all(rows[id].study == before[id].study for id in wanted):
            break
    return {id: _checked(rows[id], number) for id, number in wanted.items()}


def look_up(conn: Connection, datastore_id: str, id: str, number: int) -> LockedImageSet:
    """The set as `open_sets` gives it and with its errors, but not locked: to see what would be changed.

    What a version holds never changes: it is the same when the set is opened at this version.
    """
    return _checked(_rows(conn, datastore_id, {id: number})[id], number)


def _checked(row: Any, number: int) -> LockedImageSet:
    if row.state != ACTIVE:
        raise NotFoundError(f"Image set {row.id} is deleted.")
    if number != row.latest_version:
        raise NotFoundError(STALE)
    if not row.readable_version:
        raise ConflictError(
            f"Image set {row.id} has no content, since what should have made it failed: delete it, and make "
            "it again. GetImageSet shows what happened."
        )
    return LockedImageSet(*row[:-1])


def open_primaries(conn: Connection, study_key: int) -> list[LockedImageSet]:
    """All primary sets of a study, locked in key order; the study has to be locked already."""
    rows = conn.execute(
        _STATE.where(image_set.c.study == study_key, image_set.c.is_primary, image_set.c.state == ACTIVE)
        .order_by(image_set.c.key)
        .with_for_update()
    )
    return [LockedImageSet(*row[:-1]) for row in rows]


def study_keys(conn: Connection, datastore_key: int, uids: Sequence[str]) -> dict[str, int]:
    """The keys of studies by StudyInstanceUID; those that are not there are left out."""
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


def _unknown(conn: Connection, datastore_id: str, id: str) -> NotFoundError:
    if datastores.get(conn, datastore_id) is None:
        return NotFoundError(f"There is no data store {datastore_id}; ListDatastores shows those there are.")
    return NotFoundError(
        f"There is no image set {id} in data store {datastore_id}; SearchImageSets lists them."
    )


def _lock_studies(conn: Connection, sets: Mapping[str, Any], others: Mapping[str, int]) -> None:
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
        return  # a write transaction is alone there
    these = or_(
        study.c.key.in_({row.study for row in rows}),
        and_(study.c.datastore == rows[0].datastore, study.c.study_instance_uid.in_(list(others))),
    )
    conn.execute(select(study.c.key).where(these).order_by(study.c.key).with_for_update()).all()


def attempt(conn: Connection, change: Callable[[], None]) -> Exception | None:
    """Make ``change``; where it fails by a fault of ours, undo it alone and return what was raised.

    An `ApiError` refuses the whole request and passes, as does a failure of the database, after which the
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

    def image_set(
        self,
        detail_type: str,
        *,
        id: str,
        version: int,
        is_primary: bool,
        state: str,
        workflow_status: str,
        source_image_set_arn: str | None = None,
    ) -> None:
        """``Image Set Updating``, ``Image Set Updated`` and so on."""
        event = image_set_event(
            detail_type,
            id=self._new_id(),
            now=self._now,
            region=self._region,
            account=self._account,
            datastore_id=self._datastore_id,
            image_set_id=id,
            version=version,
            is_primary=is_primary,
            state=state,
            workflow_status=workflow_status,
            source_image_set_arn=source_image_set_arn,
        )
        outbox.append(self._conn, event)
