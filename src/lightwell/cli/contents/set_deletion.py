"""Deleting image sets from the command line: by DeleteImageSet, one after the other.

What a search has found is deleted only in the version that was found: it may have grown since, or be about
another patient.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from lightwell.cli import command_trail
from lightwell.cli.question import agreed
from lightwell.cli.wording import counted, print_array
from lightwell.errors import ConflictError, LightwellError, NotFoundError
from lightwell.observe.audit.note import MOST

if TYPE_CHECKING:
    from lightwell.cli.contents.set_listing import ListedSet
    from lightwell.domain.datastore import DataStore
    from lightwell.operations.context import Context

_PAGE = 500
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class SetId:
    """An image set and its data store, by their ids; ``version``: the latest when it was found, if that
    matters.
    """

    datastore_id: str
    id: str
    version: int | None = None

    def as_json(self) -> dict[str, str]:
        return {"datastoreId": self.datastore_id, "imageSetId": self.id}


def delete(
    ctx: Context, chosen: Iterable[SetId], changed: Callable[[SetId], None] = lambda each: None
) -> list[SetId]:
    """Delete these sets, and return those that were not deleted already.

    ``changed`` is told of those that have another version by now, and are left. Whose they are is on record
    before, of at most `MOST` at once.
    """
    deleted: list[SetId] = []
    by_store = attrgetter("datastore_id")
    for store, found in groupby(sorted(chosen, key=by_store), by_store):
        sets = list(found)
        for start in range(0, len(sets), MOST):
            part = sets[start : start + MOST]
            _on_record(ctx, store, [each.id for each in part])
            deleted += [each for each in part if _delete(ctx, each, changed)]
    return deleted


def _on_record(ctx: Context, store: str, ids: Sequence[str]) -> None:
    from lightwell.documents.identity import note_image_sets

    command = command_trail.current()
    if command is not None:
        command.goes_to(ctx.settings, store)
        note_image_sets(ctx.stores, command.note, store, ids)
        command.did(ctx.settings)


def _delete(ctx: Context, chosen: SetId, changed: Callable[[SetId], None]) -> bool:
    from lightwell.operations.delete_image_set import delete_image_set
    from lightwell.wire.shapes import DeleteImageSetRequest

    request = DeleteImageSetRequest(datastore_id=chosen.datastore_id, image_set_id=chosen.id)
    try:
        delete_image_set(ctx, request, latest_version=chosen.version)
    except NotFoundError:
        return False
    except ConflictError:
        changed(chosen)
        return False
    return True


def delete_by_id(ctx: Context, ids: Sequence[str], *, as_json: bool) -> int:
    """Delete these sets and print which; 1 if one of them does not exist, and the others are deleted."""
    from lightwell.stores.image_sets import lookups

    places: dict[str, SetId] = {}
    with ctx.stores.db.read() as conn:
        for id in ids:
            if (place := lookups.find(conn, id)) is not None:
                places[id] = SetId(place[0], id)
    deleted = delete(ctx, places.values())
    gone = set(deleted)
    missing = dict.fromkeys(id for id in ids if places.get(id) not in gone)
    for id in missing:
        why = (
            "is deleted already"
            if id in places
            else "does not exist; `lightwell sets list` shows those that do"
        )
        print(f"lightwell: image set {id} {why}", file=sys.stderr)
    _print(deleted, as_json=as_json)
    return 1 if missing else 0


def delete_found(ctx: Context, found: Iterable[ListedSet], *, is_sure: bool, as_json: bool) -> int:
    """Delete what a search has found, after a question; 1 if some are left, changed since then."""
    return _delete_all(
        ctx,
        (
            (
                SetId(each.store.id, each.found.image_set_id, each.found.version),
                each.tags.dicom_number_of_study_related_instances or 0,
            )
            for each in found
        ),
        is_sure=is_sure,
        as_json=as_json,
    )


def delete_store(ctx: Context, store: DataStore, *, is_sure: bool, as_json: bool) -> int:
    """The same for all image sets of a data store, those included that no search finds."""
    return _delete_all(ctx, _every(ctx, store), is_sure=is_sure, as_json=as_json)


def _every(ctx: Context, store: DataStore) -> Iterator[tuple[SetId, int]]:
    from lightwell.stores.image_sets import lookups

    after: tuple[str, int] | None = None
    while True:
        with ctx.stores.db.read() as conn:
            page = lookups.undeleted(conn, store.key, after, _PAGE)
        for each in page:
            yield SetId(store.id, each.id, each.latest_version), each.instance_count
        if len(page) < _PAGE:
            return
        after = page[-1].series_instance_uid, page[-1].key


def _delete_all(ctx: Context, found: Iterable[tuple[SetId, int]], *, is_sure: bool, as_json: bool) -> int:
    chosen, instances = [], 0
    for each, count in found:
        chosen.append(each)
        instances += count
    if not chosen:
        raise LightwellError("No image set matches, so nothing was deleted; `lightwell sets list` shows them")
    what = f"{counted(len(chosen), 'image set')} with {counted(instances, 'instance')}"
    if not agreed(f"Delete {what}, and all their versions?", is_sure=is_sure):
        print("nothing was deleted", file=sys.stderr)
        return 1
    left: list[SetId] = []
    _print(delete(ctx, chosen, left.append), as_json=as_json)
    if left:
        print(
            f"lightwell: {counted(len(left), 'image set')} NOT deleted, changed since the search found "
            f"them: {' '.join(each.id for each in left[:_MOST_NAMED])}"
            f"{' …' if len(left) > _MOST_NAMED else ''}. Run the same command again to see what it would "
            "delete now",
            file=sys.stderr,
        )
    return 1 if left else 0


def _print(deleted: Sequence[SetId], *, as_json: bool) -> None:
    if as_json:
        print_array(each.as_json() for each in deleted)
    else:
        print(f"{counted(len(deleted), 'image set')} deleted")
