"""The DICOM JSON instances that represent the hits of a search, a page at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from lightwell.domain.image_sets.edits import NO_EDITS, Edits, merge_edits
from lightwell.domain.keys import ImageSetKey
from lightwell.errors import DamagedError
from lightwell.stores.image_sets import edits as packed_edits
from lightwell.stores.image_sets import instances, native_instances
from lightwell.stores.image_sets.dicom_json_instances import DicomJsonInstance
from lightwell.stores.keys import values
from lightwell.stores.qido.search import Hit

# A study and a series are represented by the first instance of their set; Core would double the cost.
_PLACES = {
    "sqlite": (
        "SELECT key n, json_extract(value, '$[0]') image_set, json_extract(value, '$[1]') instance,"
        " json_extract(value, '$[2]') record FROM json_each(?)"
    ),
    "postgresql": (
        "SELECT n, image_set, instance, record FROM"
        " unnest(%s::bigint[], %s::bigint[], %s::bigint[])"
        " WITH ORDINALITY AS u(image_set, instance, record, n)"
    ),
}


def _for_dialects(statement: str) -> dict[str, str]:
    return {dialect: statement.format(places=places) for dialect, places in _PLACES.items()}


_ROWS = _for_dialects("""
WITH place AS ({places})
SELECT place.n, s.key, s.study_instance_uid, s.series_instance_uid, m.edits, r.sop_instance_uid,
       r.key, r.dicom_z, r.dicom_dictionary, r.pack, r.original_offset, r.original_length, r.override_z,
       p.stored_syntax, CASE WHEN m.instance <> m.record THEN m.instance END
FROM place
CROSS JOIN image_set s
CROSS JOIN member m
CROSS JOIN record r
LEFT JOIN pixels p ON p.key = r.pixels
WHERE s.key = place.image_set AND m.image_set = s.key AND m.valid_to IS NULL AND r.key = m.record
  AND r.datastore = s.datastore AND (r.pixels IS NULL OR p.datastore = r.datastore)
  AND m.instance = COALESCE(place.instance, (
      SELECT i.instance FROM primary_instance i
      WHERE i.image_set = place.image_set AND i.record = place.record
      ORDER BY i.number, i.sop_instance_uid LIMIT 1))
ORDER BY place.n
""")
_EDITED = _for_dialects("""
WITH place AS ({places})
SELECT l.image_set, l.edits FROM level l
WHERE l.image_set IN (SELECT image_set FROM place) AND l.valid_to IS NULL AND l.edits IS NOT NULL
ORDER BY l.image_set, l.level
""")
_IMAGES = _for_dialects("""
WITH place AS ({places})
SELECT p.image, p.stored_syntax, p.frame_count FROM place
LEFT JOIN record r ON r.key = place.record
    AND r.datastore = (SELECT s.datastore FROM image_set s WHERE s.key = place.image_set)
LEFT JOIN pixels p ON p.key = r.pixels AND p.datastore = r.datastore
ORDER BY place.n
""")


class HitInstance(NamedTuple):
    """The instance that represents a hit, and the UIDs of its study and series."""

    study_instance_uid: str
    series_instance_uid: str
    instance: DicomJsonInstance


def rows(conn: Connection, hits: Sequence[Hit]) -> list[HitInstance]:
    """The instances of hits, in their order.

    Raises `StorageError` if one is missing. ``conn`` must see one state of the database throughout.
    """
    given = _given(conn, hits)
    instance_rows = _all(conn, _ROWS, given)
    if len(instance_rows) != len(hits):
        for key in sorted({hit.image_set for hit in hits}):
            error = instances.not_found(conn, ImageSetKey(key), None, "an instance of a search")
            if isinstance(error, DamagedError):
                raise error
        raise error
    on_levels: dict[int, Edits] = {}
    for image_set, edits in _all(conn, _EDITED, given):
        on_levels[image_set] = merge_edits(
            on_levels.get(image_set, NO_EDITS), packed_edits.unpack(conn, image_set, edits)
        )
    found = [_hit(conn, row[:-1], on_levels) for row in instance_rows]
    for row, hit in zip(instance_rows, found, strict=True):
        if row[-1] is not None:
            instances.check(conn, row[1], {row[-1]: hit.instance.sop_instance_uid})
    return found


class HitPixels(NamedTuple):
    """How the pixels of an instance are stored; all None for an instance without pixels.

    ``image`` is the JSON that describes them. ``frame_count`` is 0 if they could not be split into frames.
    """

    image: bytes | None
    stored_syntax: str | None
    frame_count: int | None


def pixels(conn: Connection, hits: Sequence[Hit]) -> list[HitPixels]:
    """How the pixels of the hits' instances are stored, in their order."""
    return list(map(HitPixels._make, _all(conn, _IMAGES, _given(conn, hits))))


def _hit(conn: Connection, row: native_instances.Row, on_levels: dict[int, Edits]) -> HitInstance:
    _, image_set, study, series, edits_z, uid, *of_record = row
    record, dicom_z, dictionary, pack, offset, length, override_z, syntax = of_record
    edits = on_levels.get(image_set, NO_EDITS)
    if edits_z is not None:
        own = packed_edits.unpack(conn, image_set, edits_z)
        uid = native_instances.sop_instance_uid(uid, own)
        edits = merge_edits(own, edits)
    instance = DicomJsonInstance(
        image_set=image_set,
        record=record,
        sop_instance_uid=uid,
        dicom_z=values.of_record(conn, values.DICOM, record, dicom_z, image_set),
        dictionary=dictionary,
        pack=pack,
        offset=offset,
        length=length,
        override_z=values.of_record(conn, values.OVERRIDE, record, override_z, image_set),
        stored_syntax=syntax,
        edits=edits,
    )
    return HitInstance(study, series, instance)


def _given(conn: Connection, hits: Sequence[Hit]) -> tuple[object, ...]:
    places = [(hit.image_set, hit.instance, hit.record) for hit in hits]
    if conn.dialect.name == "sqlite":
        return (json.dumps(places),)
    return tuple([list(column) for column in zip(*places, strict=True)])


def _all(
    conn: Connection, statements: dict[str, str], given: tuple[object, ...]
) -> list[native_instances.Row]:
    return native_instances.fetch_all(conn.exec_driver_sql(statements[conn.dialect.name], given))
