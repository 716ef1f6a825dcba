"""What an image set holds, and its versions with who made each and what it changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lightwell.documents import metadata_documents
from lightwell.documents.identity import identity_of_version, note_image_sets
from lightwell.domain import page_tokens
from lightwell.domain.image_sets.image_set import ImageSet, Version
from lightwell.domain.image_sets.levels import LEVEL_NAMES
from lightwell.domain.states import WorkflowStatus
from lightwell.errors import ValidationError
from lightwell.operations.context import Context
from lightwell.operations.image_sets import find_readable, unknown_image_set
from lightwell.operations.version_ids import readable_version
from lightwell.stores.image_sets import lookups, native_instances, representative, version_diff
from lightwell.stores.image_sets.version_diff import Content, VersionRows

if TYPE_CHECKING:
    from sqlalchemy import Connection

Kind = Literal["created", "imported", "updated", "copied", "reverted", "failed"]

_KINDS: Mapping[WorkflowStatus, Kind] = {
    WorkflowStatus.CREATED: "created",
    WorkflowStatus.IMPORTED: "imported",
    WorkflowStatus.UPDATED: "updated",
    WorkflowStatus.COPIED: "copied",
}


@dataclass(frozen=True, slots=True)
class VersionSummary:
    """A version, how many instances it has and what it changed.

    ``added`` and ``removed`` are the difference in instances from the version before, at least one of them 0;
    ``touched`` counts the instances that begin with it, those edited or imported again included.
    """

    version: Version
    kind: Kind
    instances: int
    added: int
    removed: int
    touched: int
    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VersionPage:
    """Versions, newest first; ``next_token`` is None after the last."""

    versions: tuple[VersionSummary, ...]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class Overview:
    """What a version of a set is: the ``DICOM`` objects of patient, study and series, and what it holds.

    ``sop_instance_uid`` is that of its middle image, by which it can be shown; ``first`` that of its first
    instance.
    """

    found: ImageSet
    version: int
    levels: tuple[dict[str, object], ...]
    content: Content
    sop_instance_uid: str | None
    first: str | None


def list_versions(
    ctx: Context, datastore_id: str, image_set_id: str, *, next_token: str | None, limit: int
) -> VersionPage:
    """Every version, failed ones included. Raises `NotFoundError` where the set does not exist."""
    below = None if next_token is None else place(next_token)
    with ctx.stores.db.read() as conn:
        found = lookups.get(conn, datastore_id, image_set_id)
        if found is not None:
            versions = lookups.versions(conn, found.key, below=below, limit=limit + 1)
            counted = version_diff.version_rows(conn, found.key)
    if found is None:
        raise unknown_image_set(ctx, datastore_id, image_set_id)
    shown = versions[:limit]
    note_image_sets(ctx.stores, ctx.note, datastore_id, [image_set_id])
    return VersionPage(
        tuple(summary_of(version, counted) for version in shown),
        page_tokens.encode([shown[-1].number]) if len(versions) > limit else None,
    )


def place(next_token: str) -> int:
    """The number in a page token. Raises `ValidationError` for one that was not returned."""
    (number,) = page_tokens.decode(next_token, int)
    if not isinstance(number, int) or number < 0:
        raise ValidationError("nextToken is not one that this operation returned.")
    return number


def summary_of(version: Version, counted: VersionRows) -> VersionSummary:
    """A version with what its rows say of it."""
    number = version.number
    now, before = counted.instance_count(number), counted.instance_count(number - 1)
    return VersionSummary(
        version=version,
        kind=kind_of(version),
        instances=now,
        added=max(now - before, 0),
        removed=max(before - now, 0),
        touched=counted.opened.get(number, 0),
        levels=tuple(LEVEL_NAMES[level] for level in sorted(counted.levels.get(number, ()))),
    )


def kind_of(version: Version) -> Kind:
    """What made a version."""
    if version.reverted_to is not None:
        return "reverted"
    return _KINDS.get(version.workflow_status, "failed")


def overview(ctx: Context, datastore_id: str, image_set_id: str, version_id: str | None) -> Overview:
    """What a version, by default the newest with content, is and holds.

    Raises `NotFoundError` where the set or the version does not exist, is deleted or has no content.
    """
    found = find_readable(ctx, datastore_id, image_set_id)
    version = readable_version(version_id, found)
    with ctx.stores.db.read() as conn:
        ctx.note.saw(*identity_of_version(conn, found.key, version))
        ctx.note.version = version
        return _overview(conn, found, version)


def _overview(conn: Connection, found: ImageSet, version: int) -> Overview:
    levels = native_instances.levels(conn, found.key, version)
    return Overview(
        found=found,
        version=version,
        levels=tuple(metadata_documents.edited_level(level) for level in levels),
        content=version_diff.content(conn, found.key, version),
        sop_instance_uid=representative.middle_image(conn, found.key, version),
        first=representative.first_member(conn, found.key, version),
    )
