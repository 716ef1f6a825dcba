"""What differs between two versions of an image set, a part at a time."""

from __future__ import annotations

from dataclasses import dataclass

from lightwell.documents.identity import identity_of_version
from lightwell.domain import page_tokens
from lightwell.operations.console.differences import json_size
from lightwell.operations.console.image_set_versions import VersionSummary, place, summary_of
from lightwell.operations.context import Context
from lightwell.operations.image_sets import find_readable
from lightwell.operations.version_diff import (
    DifferencePage,
    diff_page,
    existing_versions,
    versions_between,
)
from lightwell.stores.image_sets import version_diff

_MOST_VERSIONS = 200


@dataclass(frozen=True, slots=True)
class Difference:
    """A part of the difference from version ``first`` to version ``second``.

    ``versions`` are those in between, in the first part only and the newest `_MOST_VERSIONS` of them.
    """

    first: int
    second: int
    versions: tuple[VersionSummary, ...]
    page: DifferencePage
    next_token: str | None


def diff(
    ctx: Context,
    datastore_id: str,
    image_set_id: str,
    between: tuple[str, str],
    *,
    next_token: str | None,
    most: int,
) -> Difference:
    """`diff_page` of a set in this data store, by version ids. Raises `NotFoundError` where the set or a
    version does not exist, or the set is deleted.
    """
    start = 0 if next_token is None else place(next_token)
    found = find_readable(ctx, datastore_id, image_set_id)
    first, second = existing_versions(found, *between)
    with ctx.stores.db.read() as conn:
        versions = tuple(versions_between(conn, found, first, second)) if start == 0 else ()
        shown: tuple[VersionSummary, ...] = ()
        if versions:
            counted = version_diff.version_rows(conn, found.key)
            shown = tuple(summary_of(version, counted) for version in versions[-_MOST_VERSIONS:])
        for version in (first, second):
            ctx.note.saw(*identity_of_version(conn, found.key, version))
        page = diff_page(conn, found.key, first, second, start=start, most=most, size=json_size)
    return Difference(
        first,
        second,
        shown,
        page,
        None if page.next_start is None else page_tokens.encode([page.next_start]),
    )
