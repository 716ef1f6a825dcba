"""The image sets that a request changes without naming them, so that each of them can be authorized.

UpdateImageSetMetadata with ``includeStudyImageSets`` changes the primary sets of a study, CopyImageSet with
``promoteToPrimary`` the primary set of a series.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lightwell.domain.keys import StudyKey
from lightwell.errors import ConflictError, NotFoundError
from lightwell.stores.image_sets import changes, lookups
from lightwell.stores.image_sets.changes import ImageSetNotFound, ImageSetWithoutContent

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.operations.context import Context
    from lightwell.stores import Stores
    from lightwell.stores.image_sets.changes import LockedImageSet


def affected_image_sets(stores: Stores, operation: str, request: Any) -> list[str]:
    """Their ids, in no particular order; the set that the request names may be among them.

    The operation passes the sets that it finds to `check_authorized` once it has locked them.
    """
    if operation == "UpdateImageSetMetadata" and request.include_study_image_sets:
        return of_study(stores, request.datastore_id, request.image_set_id)
    if operation == "CopyImageSet" and request.promote_to_primary:
        with stores.db.read() as conn:
            source = request.source_image_set_id
            return lookups.primary_siblings(conn, request.datastore_id, source, of_series=True)
    return []


def of_study(stores: Stores, datastore_id: str, image_set_id: str) -> list[str]:
    """The ids of those that an update with ``includeStudyImageSets`` changes."""
    with stores.db.read() as conn:
        return lookups.primary_siblings(conn, datastore_id, image_set_id, of_series=False)


def check_authorized(ctx: Context, sets: Iterable[LockedImageSet]) -> None:
    """Raises `ConflictError` where one of the sets was added after the caller's policies were evaluated."""
    authorized = ctx.authorized_image_sets
    if authorized is not None and any(each.id not in authorized for each in sets):
        raise ConflictError("The study is being changed by another request; try again.")


def open_sets(
    conn: Connection,
    datastore_id: str,
    latest: Mapping[str, int],
    *,
    studies: Mapping[str, StudyKey] | None = None,
) -> dict[str, LockedImageSet]:
    """`changes.open_sets`. Raises `NotFoundError`, and `ConflictError` for a set without content."""
    with _as_api_errors():
        return changes.open_sets(conn, datastore_id, latest, studies=studies)


def look_up(conn: Connection, datastore_id: str, image_set_id: str, latest: int) -> LockedImageSet:
    """`changes.look_up`, with the errors of `open_sets`."""
    with _as_api_errors():
        return changes.look_up(conn, datastore_id, image_set_id, latest)


@contextmanager
def _as_api_errors() -> Iterator[None]:
    try:
        yield
    except ImageSetNotFound as error:
        raise NotFoundError(str(error)) from None
    except ImageSetWithoutContent as error:
        raise ConflictError(str(error)) from None
