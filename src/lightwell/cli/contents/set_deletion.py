"""Deleting image sets from the command line: by DeleteImageSet, one after the other."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from lightwell.cli import command_trail
from lightwell.cli.question import agreed
from lightwell.cli.wording import counted, print_array
from lightwell.errors import LightwellError, NotFoundError
from lightwell.observe.audit.note import MOST

if TYPE_CHECKING:
    from lightwell.cli.contents.set_listing import ListedSet
    from lightwell.operations.context import Context


@dataclass(frozen=True, slots=True)
class SetId:
    """An image set and its data store, by their ids."""

    datastore_id: str
    id: str

    def as_json(self) -> dict[str, str]:
        return {"datastoreId": self.datastore_id, "imageSetId": self.id}


def delete(ctx: Context, chosen: Iterable[SetId]) -> list[SetId]:
    """Delete these sets, and return those that were not deleted already.

    Whose they are is on record before, of at most `MOST` at once.
    """
    deleted: list[SetId] = []
    by_store = attrgetter("datastore_id")
    for store, found in groupby(sorted(chosen, key=by_store), by_store):
        sets = list(found)
        for start in range(0, len(sets), MOST):
            part = sets[start : start + MOST]
            _on_record(ctx, store, [each.id for each in part])
            deleted += [each for each in part if _delete(ctx, each)]
    return deleted


def _on_record(ctx: Context, store: str, ids: Sequence[str]) -> None:
    from lightwell.documents.identity import note_image_sets

    command = command_trail.current()
    if command is not None:
        command.goes_to(ctx.settings, store)
        note_image_sets(ctx.stores, command.note, store, ids)
        command.did(ctx.settings)


def _delete(ctx: Context, chosen: SetId) -> bool:
    from lightwell.operations.delete_image_set import delete_image_set
    from lightwell.wire.shapes import DeleteImageSetRequest

    request = DeleteImageSetRequest(datastore_id=chosen.datastore_id, image_set_id=chosen.id)
    try:
        delete_image_set(ctx, request)
    except NotFoundError:
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
    """Delete what a search has found, after a question."""
    chosen, instances = [], 0
    for each in found:
        chosen.append(SetId(each.store.id, each.found.image_set_id))
        instances += each.tags.dicom_number_of_study_related_instances or 0
    if not chosen:
        raise LightwellError("No image set matches, so nothing was deleted; `lightwell sets list` shows them")
    what = f"{counted(len(chosen), 'image set')} with {counted(instances, 'instance')}"
    if not agreed(f"Delete {what}, and all their versions?", is_sure=is_sure):
        print("nothing was deleted", file=sys.stderr)
        return 1
    _print(delete(ctx, chosen), as_json=as_json)
    return 0


def _print(deleted: Sequence[SetId], *, as_json: bool) -> None:
    if as_json:
        print_array(each.as_json() for each in deleted)
    else:
        print(f"{counted(len(deleted), 'image set')} deleted")
