"""Whom native operations are about that name image sets and show no patient, for the audit trail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lightwell.documents.identity import note_image_sets
from lightwell.operations.affected_image_sets import affected_image_sets

if TYPE_CHECKING:
    from lightwell.operations.context import Context

# By operation: what names its image set in the request. GetImageSetMetadata and SearchImageSets note
# themselves what they show, since a version may be about another patient than the set is about by now.
_NAMED_BY = {
    "CopyImageSet": "source_image_set_id",
    "DeleteImageSet": "image_set_id",
    "GetImageSet": "image_set_id",
    "ListImageSetVersions": "image_set_id",
    "UpdateImageSetMetadata": "image_set_id",
}
# After which somebody else may be concerned: a change of a PatientID has two patients.
_CHANGING = ("CopyImageSet", "UpdateImageSetMetadata")


@contextmanager
def noted(context: Context, operation: str, request: Any) -> Iterator[None]:
    """Note whom the operation is about before it is run, and after it if it may have changed that. Blocks."""
    name = _NAMED_BY.get(operation)
    if name is None:
        yield
        return
    store = request.datastore_id
    ids = [getattr(request, name), *_destinations(operation, request)]
    ids += affected_image_sets(context.stores, operation, request)
    ids = list(dict.fromkeys(ids))
    note_image_sets(context.stores, context.note, store, ids)
    yield
    if operation in _CHANGING:
        note_image_sets(context.stores, context.note, store, ids)


def note_answer(context: Context, operation: str, answer: Any) -> None:
    """Note what an operation has made."""
    note = context.note
    if operation == "CopyImageSet":
        made = answer.destination_image_set_properties
        note_image_sets(context.stores, note, answer.datastore_id, [made.image_set_id])
    elif operation == "CreateDatastore":
        note.store = answer.datastore_id
    elif operation == "StartDICOMImportJob":
        note.job = answer.job_id


def _destinations(operation: str, request: Any) -> list[str]:
    if operation != "CopyImageSet":
        return []
    given = request.copy_image_set_information.destination_image_set
    return [] if given is None else [given.image_set_id]
