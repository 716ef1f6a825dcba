"""The instances of a version: their fragments, level blocks and frames."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import zstandard
from sqlalchemy import Connection, Select, and_, bindparam, or_, select
from sqlalchemy.sql.elements import ColumnElement

from lightwell.domain.document import LevelBlock, Member, MemberPixels
from lightwell.domain.edits import NONE, Edits
from lightwell.domain.frames import PAGE, Frame, unpack_entries
from lightwell.errors import StorageError
from lightwell.stores import edits as packed
from lightwell.stores.records import FragmentReader, decompress
from lightwell.stores.tables import dictionary, frame_table, level, level_value, member, record

_FEW, _MANY, _BYTES = 64, 2048, 2 << 20
"""Fragments are read ahead in batches of so many; how many follows from the bytes of the last one."""


def _holds(table: Any) -> ColumnElement[bool]:
    """That a row of ``table`` holds in version ``:version`` of set ``:set``."""
    return and_(
        table.c.image_set == bindparam("set"),
        table.c.valid_from <= bindparam("version"),
        or_(table.c.valid_to.is_(None), table.c.valid_to > bindparam("version")),
    )


_ORDER: Select[Any] = (
    select(record.c.key, member.c.pixels, member.c.edits)
    .select_from(member)
    .outerjoin(record, record.c.key == member.c.record)
    .where(_holds(member))
    .order_by(record.c.instance_number.is_(None), record.c.instance_number, record.c.key)
)
_LEVELS: Select[Any] = (
    select(level.c.level, level.c.base, level.c.edits, level_value.c.body_z)
    .outerjoin(level_value, level_value.c.key == level.c.base)
    .where(_holds(level))
    .order_by(level.c.level)
)
# One text for however many keys, prepared once; in Core a list of keys costs as much as the rows.
_RECORDS = """
SELECT r.key, r.sop_instance_uid, r.fragment_z, r.dictionary, r.patient_value, r.study_value, r.series_value,
       p.key, p.stored_syntax, p.checksum_type, p.frame_count, p.width, p.height, t.entries
FROM record r
LEFT JOIN pixels p ON p.key = r.pixels
LEFT JOIN frame_table t ON t.pixels = p.key AND t.first_frame = 0
WHERE r.key """
_KEYS = {"sqlite": "IN (SELECT value FROM json_each(?))", "postgresql": "= ANY(%s)"}
_PAGE: Select[Any] = select(frame_table.c.entries).where(
    frame_table.c.pixels == bindparam("pixels"), frame_table.c.first_frame == bindparam("first")
)

FRAME_PLACE = (
    "SELECT p.pack, p.stored_syntax, p.frame_count, t.entries FROM pixels p, frame_table t"
    " WHERE p.key = ? AND t.pixels = p.key AND t.first_frame = ?"
)
"""For `Database.look_up` (pixels key, first frame of a page): where the frames of that page lie."""


def levels(conn: Connection, image_set: int, version: int) -> list[LevelBlock]:
    """Patient, study and series block of a version.

    Raises `StorageError` where one is missing.
    """
    rows = conn.execute(_LEVELS, {"set": image_set, "version": version}).all()
    if [row.level for row in rows] != [0, 1, 2] or any(row.body_z is None for row in rows):
        raise _lost(f"a level block of version {version}")
    return [LevelBlock(row.base, _inflate(row.body_z), packed.unpack(row.edits)) for row in rows]


def level_body(conn: Connection, key: int) -> bytes:
    """The JSON object of one level value."""
    row = conn.execute(select(level_value.c.body_z).where(level_value.c.key == key)).one_or_none()
    if row is None:
        raise _lost("a level block of an instance")
    return _inflate(row.body_z)


def members(
    conn: Connection, image_set: int, version: int, *, only: Sequence[int] | None = None
) -> Iterator[tuple[Member, list[Frame]]]:
    """The instances of a version by InstanceNumber (those without come last), then by record key; ``only``
    those with these keys of ``instance``.

    With each come its first frames, at most `domain.frames.PAGE`; `frames` has the others. Raises
    `StorageError` where anything that the version names is missing. ``conn`` must see one state of the
    database throughout.
    """
    order = _ORDER if only is None else _ORDER.where(member.c.instance.in_(only))
    rows = conn.execute(order, {"set": image_set, "version": version}).all()
    if rows and (rows[0][0] is None or rows[-1][0] is None):
        raise _lost(f"the record of an instance of version {version}")
    readers: dict[int | None, FragmentReader | None] = {None: None}
    start, many = 0, _FEW
    while start < len(rows):
        batch = rows[start : start + many]
        start += many
        found = _records(conn, [key for key, _, _ in batch])
        for key, pixels_key, edits_z in batch:
            uid, fragment_z, dictionary_key, patient, study, series, *image, entries = found[key]
            if dictionary_key not in readers:
                readers[dictionary_key] = _reader(conn, dictionary_key)
            fragment = _inflate(fragment_z, readers[dictionary_key])
            edits = NONE if edits_z is None else packed.unpack(edits_z)
            if edits:
                uid = sop_instance_uid(uid, edits)
            pixels, frames = (None, []) if pixels_key is None else _image(pixels_key, image, entries)
            yield Member(key, uid, fragment, (patient, study, series), pixels, edits), frames
        size = sum(len(row[1]) + len(row[-1] or b"") for row in found.values())
        many = min(_MANY, max(_FEW, many * _BYTES // max(size, 1)))


def _records(conn: Connection, keys: list[int]) -> dict[int, Sequence[Any]]:
    dialect = conn.dialect.name
    keys_given = json.dumps(keys) if dialect == "sqlite" else keys
    rows = conn.exec_driver_sql(_RECORDS + _KEYS[dialect], (keys_given,)).all()
    return {row[0]: row[1:] for row in rows}


def _image(key: int, image: Sequence[Any], entries: bytes | None) -> tuple[MemberPixels, list[Frame]]:
    if image[0] != key:
        raise _lost("the pixels of an instance")
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


def frames(conn: Connection, pixels_key: int, first: int) -> list[Frame]:
    """The page of the frame table that begins with frame ``first``, a multiple of `domain.frames.PAGE`."""
    row = conn.execute(_PAGE, {"pixels": pixels_key, "first": first}).one_or_none()
    if row is None:
        raise _lost("the frame table of an instance")
    return unpack_entries(row.entries)


def _reader(conn: Connection, key: int) -> FragmentReader:
    row = conn.execute(select(dictionary.c.bytes).where(dictionary.c.key == key)).one_or_none()
    if row is None:
        raise _lost("the dictionary of a fragment")
    return FragmentReader(row.bytes)


def _inflate(data: bytes, reader: FragmentReader | None = None) -> bytes:
    try:
        return reader.decompress(data) if reader is not None else decompress(data)
    except zstandard.ZstdError as error:
        raise StorageError(
            f"A stored attribute block cannot be decompressed ({error}); run `lightwell data verify`."
        ) from None


def _lost(what: str) -> StorageError:
    return StorageError(f"The database has lost {what}; run `lightwell data verify`.")
