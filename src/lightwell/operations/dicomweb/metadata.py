"""Metadata of studies, series and instances in the DICOM JSON Model.

Source: PS3.18 §10.4.3.3.2 and Annex F, AWS's dicomweb-retrieve-…-metadata pages. The documents are assembled
and cached by `documents.dicom_json_documents`. The form with the URLs of bulk values, which depend on how a
client reaches the server, is cached in memory only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from lightwell.clock import Clock
from lightwell.documents import dicom_json_documents, metadata_documents
from lightwell.domain.image_sets import dicom_json_lines
from lightwell.domain.image_sets.image_set import Identity
from lightwell.errors import LightwellError, ValidationError
from lightwell.operations.context import Context
from lightwell.operations.dicomweb.lookup import (
    DicomwebTarget,
    SeriesSet,
    instance_of,
    note_sets,
    series_set,
    study_sets,
)
from lightwell.stores.image_sets import dicom_json_instances

if TYPE_CHECKING:
    from lightwell.settings import Settings
    from lightwell.stores import Stores

_ETAG_EDITION = "1"
"""To be raised when the same version gives a different document."""


@dataclass(frozen=True, slots=True)
class FoundImageSets:
    """The image sets that hold a target, and the entity tag of its metadata in their present versions."""

    sets: list[SeriesSet]
    etag: str


def find_image_sets(ctx: Context, target: DicomwebTarget) -> FoundImageSets:
    """Raises `ValidationError` for malformed ids, `NotFoundError` where the target does not exist."""
    with ctx.stores.db.read() as conn:
        sets = _sets(conn, target)
        if target.instance is not None:
            instance_of(conn, sets[0], target.instance)
    note_sets(ctx, sets)
    return FoundImageSets(
        sets, _etag(ctx.settings, [(each.id, each.version, each.mark) for each in sets], target)
    )


@contextmanager
def not_found_if_deleted(ctx: Context, target: DicomwebTarget) -> Iterator[None]:
    """Raise `NotFoundError` in place of a failure to read what `find_image_sets` found, if that has been
    deleted since: some of its rows may be gone already.
    """
    try:
        yield
    except LightwellError:
        find_image_sets(ctx, target)
        raise


def gzipped_metadata(ctx: Context, target: DicomwebTarget, found: FoundImageSets) -> bytes:
    """The JSON array, gzipped. Raises `NotFoundError` where the target was deleted meanwhile."""
    with not_found_if_deleted(ctx, target):
        if target.series is not None and target.instance is None:
            data = _series_array(ctx, target, found.sets[0])
        else:
            objects = metadata_objects(ctx, target, found)
            data = metadata_documents.gzip_pieces(dicom_json_documents.join_array(objects))
    _check_still_there(ctx, target, found)
    return data


def metadata_objects(ctx: Context, target: DicomwebTarget, found: FoundImageSets) -> Iterator[bytes]:
    """The JSON objects one by one, in bounded memory but for the gzipped documents."""
    if target.instance is not None:
        yield _instance_object(ctx, target, found.sets[0], target.instance)
        return
    with_meta = _with_meta(ctx.settings)
    for each in found.sets:
        with not_found_if_deleted(ctx, target):
            data, has_bulk = dicom_json_documents.series_document(ctx.stores, each, with_meta=with_meta)
        for text in dicom_json_documents.split_array(data):
            if has_bulk:
                text = dicom_json_lines.insert_base_url(text, target.base, target.image_set_id)
            yield text


def metadata_as_xml(ctx: Context, target: DicomwebTarget, found: FoundImageSets) -> Iterator[bytes]:
    """The same objects in the Native DICOM Model (PS3.19 §A.1)."""
    from lightwell.imaging.dataset.dicom_xml import native_model

    for text in metadata_objects(ctx, target, found):
        yield native_model(text)


async def cached_series_metadata(
    stores: Stores, settings: Settings, clock: Clock, target: DicomwebTarget
) -> tuple[str, bytes, Identity] | None:
    """Entity tag and gzipped array of the primary set of a series, and whom it is about, for an event loop;
    None unless the array is in memory.
    """
    if target.instance is not None or target.series is None:
        return None
    row = await stores.db.look_up_here(
        dicom_json_instances.PRIMARY_LOOK_UP, (target.datastore_id, target.study, target.series)
    )
    if row is None or target.image_set_id not in (None, row[1]):
        return None
    key, id, patient, version, mark = row
    format = _format(settings)
    data = metadata_documents.recent_documents.get(key, version, mark, format)
    if data is None:
        data = metadata_documents.recent_documents.get(key, version, mark, _served_format(format, target))
    if data is None:
        return None
    stores.accesses.note(key, clock.now())
    identity = Identity(id, patient, target.study, target.series)
    return _etag(settings, [(id, version, mark)], target), data, identity


def _sets(conn: Connection, target: DicomwebTarget) -> list[SeriesSet]:
    if target.series is not None:
        return [series_set(conn, target.datastore_id, target.study, target.series, target.image_set_id)]
    if target.image_set_id is not None:
        raise ValidationError(
            "imageSetId can be given for the metadata of a series or an instance, not for those of a study."
        )
    return study_sets(conn, target.datastore_id, target.study)


def _check_still_there(ctx: Context, target: DicomwebTarget, found: FoundImageSets) -> None:
    """A document that was assembled while its set was deleted must be neither served nor kept."""
    try:
        with ctx.stores.db.read() as conn:
            _sets(conn, target)
    except Exception:
        for each in found.sets:
            metadata_documents.drop_documents(ctx.stores, each.key)
        raise
    for each in found.sets:
        ctx.stores.accesses.note(each.key, ctx.clock.now())


def _instance_object(ctx: Context, target: DicomwebTarget, found: SeriesSet, uid: str) -> bytes:
    with ctx.stores.db.read() as conn:
        instance = instance_of(conn, found, uid).instance
        text = dicom_json_documents.instance_object(
            conn, ctx.stores, found, instance, with_meta=_with_meta(ctx.settings)
        )
    return dicom_json_lines.insert_base_url(text, target.base, target.image_set_id)


def _series_array(ctx: Context, target: DicomwebTarget, found: SeriesSet) -> bytes:
    data, has_bulk = dicom_json_documents.series_document(
        ctx.stores, found, with_meta=_with_meta(ctx.settings)
    )
    if not has_bulk:
        return data
    served = _served_format(_format(ctx.settings), target)
    cached = metadata_documents.recent_documents.get(found.key, found.version, found.mark, served)
    if cached is None:
        objects = (
            dicom_json_lines.insert_base_url(text, target.base, target.image_set_id)
            for text in dicom_json_documents.split_array(data)
        )
        cached = metadata_documents.gzip_pieces(dicom_json_documents.join_array(objects))
        metadata_documents.recent_documents.put(found.key, found.version, found.mark, cached, served)
    return cached


def _with_meta(settings: Settings) -> bool:
    return settings.metadata_transfer_syntax == "on"


def _format(settings: Settings) -> str:
    return dicom_json_documents.format_name(with_meta=_with_meta(settings))


def _served_format(format: str, target: DicomwebTarget) -> str:
    """The name in memory of a form whose URLs start with the target's base."""
    return f"{format} {target.base} {target.image_set_id or ''}"


def _etag(settings: Settings, sets: Sequence[tuple[str, int, int]], target: DicomwebTarget) -> str:
    state = f"{_ETAG_EDITION} {sets} {target.instance} {_served_format(_format(settings), target)}"
    return hashlib.blake2s(state.encode("utf-8", "replace"), digest_size=12).hexdigest()
