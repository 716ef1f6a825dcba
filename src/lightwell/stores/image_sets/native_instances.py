"""The instances of a version: their fragments, level blocks and frames."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import zstandard
from sqlalchemy import Connection, CursorResult, Select, Table, and_, bindparam, literal_column, select
from sqlalchemy.sql.elements import ColumnElement

from lightwell.domain.image_sets.edits import NO_EDITS, Edits
from lightwell.domain.image_sets.frame_table import PAGE, Frame, unpack_entries
from lightwell.domain.image_sets.metadata_document import LevelBlock, Member, MemberPixels
from lightwell.domain.keys import ImageSetKey, PixelsKey
from lightwell.errors import StorageError
from lightwell.stores.db.compression import FragmentReader, decompress
from lightwell.stores.db.errors import damaged_database, misplaced
from lightwell.stores.db.look_up import LookUp
from lightwell.stores.db.tables import frame_table, level, level_value, member, record
from lightwell.stores.db.validity import holds_in
from lightwell.stores.image_sets import edits as packed_edits
from lightwell.stores.image_sets import instances
from lightwell.stores.image_sets.records import level_text
from lightwell.stores.keys import values

_FEW, _MANY, _BYTES = 64, 2048, 2 << 20
"""Fragments are read ahead in batches of so many; how many follows from the bytes of the last one."""


def _of_version(table: Table) -> ColumnElement[bool]:
    """That a row of ``table`` holds in version ``:version`` of set ``:set``."""
    return and_(table.c.image_set == bindparam("set"), holds_in(table, bindparam("version")))


def _order(place: ColumnElement[Any]) -> Select[Any]:
    return (
        select(place, member.c.pixels, member.c.edits, instances.APART)
        .select_from(member)
        .outerjoin(record, record.c.key == member.c.record)
        .where(_of_version(member))
        .order_by(record.c.instance_number.is_(None), record.c.instance_number, record.c.key)
    )


# By what the records are then looked up. On SQLite the rowid spares a search in the index of the keys.
_ORDER = {"sqlite": _order(literal_column("record.rowid")), "postgresql": _order(record.c.key)}
_LEVELS: Select[Any] = (
    select(
        level.c.level,
        level.c.base,
        level.c.edits,
        level_value.c.hash,
        level_value.c.body_z,
        (level_value.c.datastore != instances.OWN_STORE).label("is_anothers"),
    )
    .outerjoin(level_value, level_value.c.key == level.c.base)
    .where(_of_version(level))
    .order_by(level.c.level)
)
_LEVEL_VALUE: Select[Any] = select(
    level_value.c.hash,
    level_value.c.body_z,
    (level_value.c.datastore != instances.OWN_STORE).label("is_anothers"),
).where(level_value.c.key == bindparam("key"))
# One text for however many keys, prepared once; in Core a list of keys costs as much as the rows.
_RECORDS = """
SELECT {place}, r.key, r.sop_instance_uid, r.fragment_z, r.dictionary,
       r.patient_value, r.study_value, r.series_value,
       p.key, p.stored_syntax, p.checksum_type, p.frame_count, p.width, p.height, t.entries
FROM {record}
LEFT JOIN pixels p ON p.key = r.pixels
LEFT JOIN frame_table t ON t.pixels = p.key AND t.first_frame = 0
WHERE r.datastore = (SELECT s.datastore FROM image_set s WHERE s.key = {set})
  AND (r.pixels IS NULL OR p.datastore = r.datastore)
"""
# SQLite would go through the result of IN by key; by InstanceNumber, neighbours lie on one page.
_BY_PLACE = {
    "sqlite": _RECORDS.format(
        place="r.rowid", set="?1", record="json_each(?2) j CROSS JOIN record r ON r.rowid = j.value"
    ),
    "postgresql": _RECORDS.format(place="r.key", set="%s", record="record r") + "  AND r.key = ANY(%s)",
}
_DICTIONARY = {
    "sqlite": "SELECT bytes FROM dictionary WHERE key = ?",
    "postgresql": "SELECT bytes FROM dictionary WHERE key = %s",
}
_PAGE: Select[Any] = select(frame_table.c.entries).where(
    frame_table.c.pixels == bindparam("pixels"), frame_table.c.first_frame == bindparam("first")
)

PIXELS_STORE = (
    "CASE WHEN EXISTS (SELECT 1 FROM pack k WHERE k.key = p.pack AND k.datastore <> p.datastore)"
    " THEN 0 ELSE p.datastore END"
)
"""The key of the data store of pixels ``p``; 0 if their pack is another's."""

FRAME_LOCATION_LOOK_UP = LookUp(
    "SELECT p.pack, p.stored_syntax, p.frame_count, t.entries, t.checks, p.checksum_type, p.width, p.height,"
    f" {PIXELS_STORE} FROM pixels p, frame_table t"
    " WHERE p.key = ? AND t.pixels = p.key AND t.first_frame = ?"
)
"""For `Database.look_up` (pixels key, first frame of a page): where the frames of that page lie, what their
checksums are of (`imaging.pixels.stored_frames.ChecksumType`), their size, and the key of the data store."""

IMAGE_LOOK_UP = LookUp("SELECT p.image FROM pixels p WHERE p.key = ?")
"""For `Database.look_up` (pixels key): the JSON of the image description that the import wrote."""


def levels(conn: Connection, image_set: ImageSetKey, version: int) -> list[LevelBlock]:
    """Patient, study and series block of a version.

    Raises `StorageError` where one is missing, `DamagedError` where one is not what was stored.
    """
    rows = conn.execute(_LEVELS, {"set": image_set, "version": version}).all()
    if [row.level for row in rows] != [0, 1, 2] or any(row.body_z is None for row in rows):
        raise _lost(f"a level block of version {version}")
    if any(row.is_anothers for row in rows):
        raise misplaced(image_set, "a patient, study or series of another data store")
    return [
        LevelBlock(
            row.base,
            level_text(conn, row.base, row.hash, row.body_z, (row.level,), image_set_key=image_set),
            packed_edits.unpack(conn, image_set, row.edits),
        )
        for row in rows
    ]


def level_body(conn: Connection, image_set: ImageSetKey, key: int) -> bytes:
    """The JSON object of one level value that an instance of a set came with.

    Raises `StorageError` where it is missing, damaged, or of another data store.
    """
    row = conn.execute(_LEVEL_VALUE, {"set": image_set, "key": key}).one_or_none()
    if row is None:
        raise _lost("a level block of an instance")
    if row.is_anothers:
        raise misplaced(image_set, "attributes of another data store")
    return level_text(conn, key, row.hash, row.body_z, image_set_key=image_set)


Row = tuple[Any, ...]
"""What the tables say of an instance as it came: its place in ``record`` (of no use elsewhere); its record's
key, SOPInstanceUID, ``fragment_z`` and the key of its dictionary; the keys of its level values; key, stored
syntax, checksum type, frame count, width and height of its pixels, and the first page of its frame table."""


class InstanceFragments:
    """Decompresses the fragments of records of an image set; keeps the dictionaries that it needed."""

    def __init__(self, conn: Connection, image_set: int) -> None:
        self._conn = conn
        self._image_set = image_set
        self._decompress: dict[int | None, Callable[[bytes], bytes]] = {None: decompress}

    def of_record(self, record: int, fragment_z: bytes, dictionary_key: int | None) -> bytes:
        """The fragment of the record with this key, as the column has it. Raises as `read` does."""
        if fragment_z[:3] == b"LWV":
            fragment_z = values.opened(self._conn, values.FRAGMENT, record, fragment_z, self._image_set)
        return self.read(fragment_z, dictionary_key)

    def read(self, data: bytes, dictionary_key: int | None) -> bytes:
        """The fragment in ``data``. Raises `StorageError` where it is damaged or its dictionary is lost."""
        decompress_it = self._decompress.get(dictionary_key)
        if decompress_it is None:
            assert dictionary_key is not None
            decompress_it = self._decompress[dictionary_key] = self._reader(dictionary_key).decompress
        try:
            return decompress_it(data)
        except zstandard.ZstdError as error:
            raise damaged_database(f"A stored attribute block cannot be decompressed ({error})") from None

    def _reader(self, key: int) -> FragmentReader:
        # There is one for each few dozen instances: too many for Core.
        result = self._conn.exec_driver_sql(_DICTIONARY[self._conn.dialect.name], (key,))
        found = fetch_all(result)
        if not found:
            raise _lost("the dictionary of a fragment")
        body = values.opened(self._conn, values.DICTIONARY, key, found[0][0], self._image_set)
        return FragmentReader(body)


def batches(
    conn: Connection, image_set: ImageSetKey, version: int, *, only: Sequence[int] | None = None
) -> Iterator[list[tuple[Row, PixelsKey | None, bytes | None]]]:
    """The instances of a version in the order of `members`: row, key of the pixels, packed edits.

    For who reads thousands and has no use for most of `Member`; in batches of bounded bytes.
    """
    dialect = conn.dialect.name
    order = _ORDER[dialect] if only is None else _ORDER[dialect].where(member.c.instance.in_(only))
    rows = fetch_all(conn.execute(order, {"set": image_set, "version": version}))
    start, many = 0, _FEW
    while start < len(rows):
        part = rows[start : start + many]
        places = [row[0] for row in part]
        given = json.dumps(places) if dialect == "sqlite" else places
        read = conn.exec_driver_sql(_BY_PLACE[dialect], (image_set, given))
        found = {row[0]: row for row in fetch_all(read)}
        if len(found) < len(set(places)):
            lost = f"the record of an instance of version {version}, or its pixels"
            raise instances.not_found(conn, image_set, version, lost)
        _check_apart(conn, image_set, part, found)
        yield [(found[place], pixels, edits) for place, pixels, edits, _ in part]
        start += many
        size = sum([len(row[3]) + len(row[-1] or b"") for row in found.values()])
        many = min(_MANY, max(_FEW, many * _BYTES // max(size, 1)))


def _check_apart(
    conn: Connection, image_set: ImageSetKey, rows: Sequence[Row], found: Mapping[Any, Row]
) -> None:
    shown = {
        instance: sop_instance_uid(found[place][2], packed_edits.unpack(conn, image_set, edits))
        for place, _, edits, instance in rows
        if instance is not None
    }
    if shown:
        instances.check(conn, image_set, shown)


def members(
    conn: Connection, image_set: ImageSetKey, version: int, *, only: Sequence[int] | None = None
) -> Iterator[tuple[Member, list[Frame]]]:
    """The instances of a version by InstanceNumber (those without one last), then by record key.

    ``only``: just those with these ``instance`` keys. Each comes with its first frames, at most
    `domain.image_sets.frame_table.PAGE`; `read_frame_page` has the others. Raises `StorageError` if
    anything that the version refers to is missing. ``conn`` must see one state of the database throughout.
    """
    fragments = InstanceFragments(conn, image_set)
    for batch in batches(conn, image_set, version, only=only):
        for row, pixels_key, edits_z in batch:
            fragment = fragments.of_record(row[1], row[3], row[4])
            yield make_member(conn, image_set, row, pixels_key, edits_z, fragment)


def make_member(
    conn: Connection,
    image_set: ImageSetKey,
    row: Row,
    pixels_key: PixelsKey | None,
    edits_z: bytes | None,
    fragment: bytes,
) -> tuple[Member, list[Frame]]:
    """The member of a row of a set with its first frames, see `members`."""
    _, key, uid, _, _, patient, study, series, *image, entries = row
    edits = NO_EDITS if edits_z is None else packed_edits.unpack(conn, image_set, edits_z)
    if edits:
        uid = sop_instance_uid(uid, edits)
    if image[0] != pixels_key:
        raise misplaced(image_set, "other pixels than its instance came with")
    pixels, frames = (None, []) if pixels_key is None else _image(image, entries)
    return Member(key, uid, fragment, (patient, study, series), pixels, edits), frames


def fetch_all(result: CursorResult[Any]) -> list[Row]:
    """The driver's own tuples, without a `Row` of SQLAlchemy around each."""
    cursor = result.cursor
    rows: list[Row] = [] if cursor is None else list(cursor.fetchall())
    result.close()
    return rows


def _image(image: Sequence[Any], entries: bytes | None) -> tuple[MemberPixels, list[Frame]]:
    pixels = MemberPixels(*image)
    # Pixels that could not be split have one entry, for the whole of their bytes, and no frame.
    page = unpack_entries(entries) if entries is not None and pixels.frame_count else []
    if len(page) != min(pixels.frame_count, PAGE):
        raise _lost("the frame table of an instance")
    return pixels, page


def sop_instance_uid(came_with: str, edits: Edits) -> str:
    """The SOPInstanceUID of an edited instance."""
    edit = edits.get("SOPInstanceUID")
    return came_with if edit is None else str(edit.value)


def instance_number(came_with: int | None, edits: Edits) -> int | None:
    """The InstanceNumber of an edited instance; None where it has none that is a number."""
    if "InstanceNumber" not in edits:
        return came_with
    edit = edits["InstanceNumber"]
    text = "" if edit is None else str(edit.value or "").strip()
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,10}", text) else None


def read_frame_page(conn: Connection, pixels_key: PixelsKey, first: int) -> list[Frame]:
    """The page of the frame table that begins with frame ``first``, a multiple of
    `domain.image_sets.frame_table.PAGE`."""
    row = conn.execute(_PAGE, {"pixels": pixels_key, "first": first}).one_or_none()
    if row is None:
        raise _lost("the frame table of an instance")
    return unpack_entries(row.entries)


def _lost(what: str) -> StorageError:
    return StorageError(f"The database has lost {what}; run `lightwell data verify`.")
