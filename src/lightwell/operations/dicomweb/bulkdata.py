"""GetDICOMBulkdata, and all bulk values of a study, a series or an instance.

Source: AWS's dicom-retrieve-bulkdata page, PS3.18 §10.4.1.1.5 (bulk data resources). Values are read from the
original in its pack, block by block, whatever their size.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from lightwell.documents import dicom_json_documents
from lightwell.domain.image_sets import dicom_json_lines
from lightwell.domain.image_sets.edits import Edits
from lightwell.errors import NotFoundError
from lightwell.operations.context import Context
from lightwell.operations.dicomweb import metadata
from lightwell.operations.dicomweb.lookup import DicomwebTarget, SeriesSet, instance_of
from lightwell.operations.dicomweb.metadata import FoundImageSets
from lightwell.stores.db.compression import decompress
from lightwell.stores.image_sets import dicom_json_instances, native_instances

if TYPE_CHECKING:
    from lightwell.imaging.instances.bulk_values import BulkValue
    from lightwell.stores import Stores


def find_bulk_value(ctx: Context, target: DicomwebTarget, name: str) -> tuple[str, BulkValue]:
    """Entity tag and value of a bulk value of an instance, by the name that it has in the metadata.

    Raises `ValidationError` for malformed ids, `NotFoundError` where the value does not exist.
    """
    found = metadata.find_image_sets(ctx, target)
    assert target.instance is not None
    with ctx.stores.db.read() as conn:
        instance = instance_of(conn, found.sets[0], target.instance)
    place = instance.pack, instance.offset, instance.length
    for value in _bulk_values_of(ctx.stores, place, instance.override_z, instance.edits):
        if value.name == name:
            ctx.stores.accesses.note(found.sets[0].key, ctx.clock.now())
            return f"{found.etag}-{name[:32]}", value
    raise NotFoundError(
        f"Instance {target.instance} has no bulk data {name[:80]}; its metadata list the bulk "
        "data that it has."
    )


def collect_bulk_values(
    ctx: Context, target: DicomwebTarget, found: FoundImageSets
) -> Iterator[tuple[str, BulkValue]]:
    """URL and value of each bulk value, instance by instance."""
    for each in found.sets:
        with metadata.not_found_if_deleted(ctx, target), ctx.stores.db.read() as conn:
            instances = list(_instances_with_bulk_data(conn, ctx.stores, target, each))
        for path, place, override_z, edits in instances:
            for value in _bulk_values_of(ctx.stores, place, override_z, edits):
                suffix = f"?imageSetId={target.image_set_id}" if target.image_set_id else ""
                yield f"{target.base}{path}/bulkdata/{value.name}{suffix}", value
        ctx.stores.accesses.note(each.key, ctx.clock.now())


_OriginalLocation = tuple[int, int, int]


def _instances_with_bulk_data(
    conn: Connection, stores: Stores, target: DicomwebTarget, found: SeriesSet
) -> Iterator[tuple[str, _OriginalLocation, bytes | None, Edits]]:
    """Path, location of the original, override and edits of the instances that were imported with bulk
    values.
    """
    fragments = native_instances.InstanceFragments(conn, found.key)
    only = None
    if target.instance is not None:
        only = [instance_of(conn, found, target.instance).instance]
    for batch in dicom_json_instances.batches(conn, found.key, found.version, only=only):
        for row in batch:
            if dicom_json_lines.has_bulk_data(dicom_json_documents.imported_lines(stores, fragments, row)):
                path = dicom_json_lines.instance_path(
                    found.study_instance_uid, found.series_instance_uid, row.sop_instance_uid
                )
                yield path, (row.pack, row.offset, row.length), row.override_z, row.edits


def _bulk_values_of(
    stores: Stores, place: _OriginalLocation, override_z: bytes | None, edits: Edits
) -> Iterator[BulkValue]:
    # Imported here because pydicom takes memory, and bulk data is rarely requested.
    from lightwell.documents.originals import open_original
    from lightwell.imaging.dataset.part10 import stored_part10
    from lightwell.imaging.editing.dicom_json_edits import edited_lines
    from lightwell.imaging.instances.bulk_values import bulk_values

    original = open_original(stores.objects, *place)
    override = json.loads(decompress(override_z)) if override_z else None
    edited = edited_lines(edits, with_pixels=False) if edits else {}
    yield from bulk_values(stored_part10(original, original.meta_length), override, edited)
