"""The instances of a version: their fragments, level blocks and frames."""

from __future__ import annotations

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
from lightwell.stores.tables import dictionary, frame_table, level, level_value, member, pixels, record

_BATCH = 256
"""Fragments in memory at a time. Most are 10 KB, few more than 100 KB."""


def _holds(table: Any) -> ColumnElement[bool]:
    """That a row of ``table`` holds in version ``:version`` of set ``:set``."""
    return and_(
        table.c.image_set == bindparam("set"),
        table.c.valid_from <= bindparam("version"),
        or_(table.c.valid_to.is_(None), table.c.valid_to > bindparam("version")),
    )


_ORDER: Select[Any] = (
    select(member.c.record, record.c.key, record.c.instance_number, member.c.pixels, member.c.edits)
    .outerjoin(record, record.c.key == member.c.record)
    .where(_holds(member))
)
_LEVELS: Select[Any] = (
    select(level.c.level, level.c.base, level.c.edits, level_value.c.body_z)
    .outerjoin(level_value, level_value.c.key == level.c.base)
    .where(_holds(level))
    .order_by(level.c.level)
)
_FRAGMENTS: Select[Any] = select(
    record.c.key,
    record.c.sop_instance_uid,
    record.c.fragment_z,
    record.c.dictionary,
    record.c.patient_value,
    record.c.study_value,
    record.c.series_value,
).where(record.c.key.in_(bindparam("keys", expanding=True)))
_PIXELS: Select[Any] = (
    select(
        pixels.c.key,
        pixels.c.stored_syntax,
        pixels.c.checksum_type,
        pixels.c.frame_count,
        pixels.c.width,
        pixels.c.height,
        frame_table.c.entries,
    )
    .outerjoin(frame_table, and_(frame_table.c.pixels == pixels.c.key, frame_table.c.first_frame == 0))
    .where(pixels.c.key.in_(bindparam("keys", expanding=True)))
)
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
    rows = list(conn.execute(order, {"set": image_set, "version": version}).all())
    if any(row.key is None for row in rows):
        raise _lost(f"the record of an instance of version {version}")
    rows.sort(key=lambda row: (row.instance_number is None, row.instance_number or 0, row.key))
    readers: dict[int, FragmentReader] = {}
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        keys = [row.key for row in batch]
        found = {row[0]: row for row in conn.execute(_FRAGMENTS, {"keys": keys}).all()}
        seen = _pixels(conn, [row.pixels for row in batch if row.pixels is not None])
        for wanted in batch:
            key, uid, fragment_z, dictionary_key, *values = found[wanted.key]
            if dictionary_key is not None and dictionary_key not in readers:
                readers[dictionary_key] = _reader(conn, dictionary_key)
            image, entries = seen[wanted.pixels] if wanted.pixels is not None else (None, [])
            fragment = _inflate(fragment_z, readers.get(dictionary_key))
            edits = NONE if wanted.edits is None else packed.unpack(wanted.edits)
            yield (
                Member(
                    key,
                    sop_instance_uid(uid, edits) if edits else uid,
                    fragment,
                    (values[0], values[1], values[2]),
                    image,
                    edits,
                ),
                entries,
            )


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


def _pixels(conn: Connection, keys: list[int]) -> dict[int, tuple[MemberPixels, list[Frame]]]:
    found: dict[int, tuple[MemberPixels, list[Frame]]] = {}
    if not keys:
        return found
    for *values, entries in conn.execute(_PIXELS, {"keys": keys}).all():
        image = MemberPixels(*values)
        # Pixels that could not be split have one entry, for the whole of their bytes, and no frame.
        page = unpack_entries(entries) if entries is not None and image.frame_count else []
        if len(page) != min(image.frame_count, PAGE):
            raise _lost("the frame table of an instance")
        found[image.key] = image, page
    if len(found) != len(set(keys)):
        raise _lost("the pixels of an instance")
    return found


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
