"""GetDICOMBulkdata, and the bulk values of a study, a series or an instance together.

Source: AWS's dicom-retrieve-bulkdata page, PS3.18 §10.4.1.1.5 (bulk data resources). Values are read straight
from the original in its pack, a block at a time, whatever their size.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from lightwell.domain.image_sets import dicom_json_lines
from lightwell.domain.image_sets.edits import Edits
from lightwell.errors import NotFoundError
from lightwell.operations.context import Context
from lightwell.operations.dicomweb import metadata
from lightwell.operations.dicomweb.lookup import SeriesSet, instance_of
from lightwell.operations.dicomweb.metadata import Found, Wanted
from lightwell.stores.image_sets import dicom_json_instances, native_instances
from lightwell.stores.image_sets.records import decompress
from lightwell.stores.objects.packs import pack_name

if TYPE_CHECKING:
    from lightwell.imaging.instances.bulk_values import BulkValue
    from lightwell.stores import Stores


def find(ctx: Context, wanted: Wanted, name: str) -> tuple[str, BulkValue]:
    """ETag and value of the name that metadata give to a value of an instance.

    Raises `ValidationError` for ids that are none, `NotFoundError` where there is no such value.
    """
    found = metadata.find(ctx, wanted)
    assert wanted.instance is not None
    with ctx.stores.db.read() as conn:
        instance = instance_of(conn, found.sets[0], wanted.instance)
    place = instance.pack, instance.offset, instance.length
    for value in _values(ctx.stores, place, instance.override_z, instance.edits):
        if value.name == name:
            ctx.stores.accesses.note(found.sets[0].key, ctx.clock.now())
            return f"{found.etag}-{name[:32]}", value
    raise NotFoundError(
        f"Instance {wanted.instance} has no bulk data {name[:80]}; its metadata name what there is."
    )


def collect(ctx: Context, wanted: Wanted, found: Found) -> Iterator[tuple[str, BulkValue]]:
    """URL and value of each bulk value, instance by instance."""
    for each in found.sets:
        with metadata.unless_deleted(ctx, wanted), ctx.stores.db.read() as conn:
            instances = list(_with_bulk(conn, ctx.stores, wanted, each))
        for path, place, override_z, edits in instances:
            for value in _values(ctx.stores, place, override_z, edits):
                suffix = f"?imageSetId={wanted.image_set_id}" if wanted.image_set_id else ""
                yield f"{wanted.base}{path}/bulkdata/{value.name}{suffix}", value
        ctx.stores.accesses.note(each.key, ctx.clock.now())


_Place = tuple[int, int, int]


def _with_bulk(
    conn: Connection, stores: Stores, wanted: Wanted, found: SeriesSet
) -> Iterator[tuple[str, _Place, bytes | None, Edits]]:
    """Path, place of the original, override and edits of the instances that have bulk values as they came."""
    fragments = native_instances.InstanceFragments(conn)
    only = None
    if wanted.instance is not None:
        only = [instance_of(conn, found, wanted.instance).instance]
    for batch in dicom_json_instances.batches(conn, found.key, found.version, only=only):
        for row in batch:
            if dicom_json_lines.has_bulk(metadata.lines_of(stores, fragments, row)):
                path = dicom_json_lines.instance_path(
                    found.study_instance_uid, found.series_instance_uid, row.sop_instance_uid
                )
                yield path, (row.pack, row.offset, row.length), row.override_z, row.edits


def _values(stores: Stores, place: _Place, override_z: bytes | None, edits: Edits) -> Iterator[BulkValue]:
    # Imported here since pydicom takes memory, and few servers are asked for bulk data.
    from lightwell.imaging.dataset.original_container import Original
    from lightwell.imaging.dataset.part10 import stored_part10
    from lightwell.imaging.editing.dicom_json_edits import edited_lines
    from lightwell.imaging.instances.bulk_values import bulk_values

    pack, offset, length = place
    original = Original(
        lambda start, count: stores.objects.read(pack_name(pack), start, count), offset, length
    )
    override = json.loads(decompress(override_z)) if override_z else None
    edited = edited_lines(edits, with_pixels=False) if edits else {}
    yield from bulk_values(stored_part10(original, original.meta_length), override, edited)
