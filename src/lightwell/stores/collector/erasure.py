"""What has to be known of image sets before a patient or a study is erased."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import zstandard
from sqlalchemy import Connection, and_, exists, func, or_, select, tuple_, union

from lightwell.domain.image_sets.edits import apply_edits
from lightwell.domain.states import ImageSetState, PackState
from lightwell.errors import StorageError
from lightwell.stores.background.gc_candidates import PACK
from lightwell.stores.db.bulk import batches
from lightwell.stores.db.compression import decompress
from lightwell.stores.db.tables import (
    datastore,
    image_set,
    leftover,
    level,
    level_value,
    member,
    pack,
    pixels,
    record,
)
from lightwell.stores.image_sets import edits
from lightwell.stores.keys import values
from lightwell.stores.keys.job_values import NO_KEY

_PAGE = 500


@dataclass(frozen=True, slots=True)
class FormerLevel:
    """What an earlier version of an image set showed of its patient or study, which a later one changed.

    ``block`` is None where it cannot be opened.
    """

    datastore_id: str
    image_set_id: str
    block: dict[str, object] | None


def packs_of(conn: Connection, image_sets: Collection[str]) -> set[int]:
    """The packs with originals or pixels of any version of these sets, by ids of sets."""
    found: set[int] = set()
    for some in batches(image_sets):
        members = (
            select(member.c.record, member.c.pixels)
            .join(image_set, image_set.c.key == member.c.image_set)
            .where(image_set.c.id.in_(some))
            .subquery()
        )
        of_records = (
            select(record.c.pixels, record.c.pack).join(members, members.c.record == record.c.key).subquery()
        )
        of_pixels = union(select(members.c.pixels), select(of_records.c.pixels)).subquery()
        packs = union(
            select(of_records.c.pack),
            select(pixels.c.pack).join(of_pixels, of_pixels.c.pixels == pixels.c.key),
        )
        found.update(conn.execute(packs).scalars())
    return found


def pack_bytes(conn: Connection, keys: Collection[int]) -> int:
    """The bytes of those of these packs that exist."""
    total = func.coalesce(func.sum(pack.c.size), 0)
    return sum(
        int(conn.execute(select(total).where(pack.c.key.in_(some))).scalar_one()) for some in batches(keys)
    )


def unused_packs(conn: Connection) -> list[int]:
    """Packs that nothing refers to, without doomed ones: of what was deleted, and those that are *open*.

    An import may be writing an open one, may never have needed it, or may have been stopped.
    """
    listed = select(leftover.c.key).where(leftover.c.kind == PACK)
    is_used = or_(exists().where(record.c.pack == pack.c.key), exists().where(pixels.c.pack == pack.c.key))
    is_listed = and_(pack.c.state == PackState.LIVE, pack.c.key.in_(listed))
    return list(
        conn.execute(
            select(pack.c.key).where(or_(pack.c.state == PackState.OPEN, is_listed), ~is_used)
        ).scalars()
    )


def former_levels(
    conn: Connection, number: int, datastores: Collection[int], after: tuple[int, int] = (-1, -1)
) -> Iterator[FormerLevel]:
    """The levels of one number that hold in earlier versions of ACTIVE sets of these data stores only.

    Reads the whole table, and opens no value of another data store.
    """
    while True:
        rows = conn.execute(
            select(
                level.c.image_set,
                level.c.valid_from,
                datastore.c.id,
                image_set.c.id,
                level.c.base,
                level_value.c.body_z,
                level.c.edits,
            )
            .join(image_set, image_set.c.key == level.c.image_set)
            .join(datastore, datastore.c.key == image_set.c.datastore)
            .join(level_value, level_value.c.key == level.c.base)
            .where(
                level.c.level == number,
                level.c.valid_to.is_not(None),
                image_set.c.state == ImageSetState.ACTIVE,
                image_set.c.datastore.in_(datastores),
                tuple_(level.c.image_set, level.c.valid_from) > after,
            )
            .order_by(level.c.image_set, level.c.valid_from)
            .limit(_PAGE)
        ).all()
        for image_set_key, _, store_id, id, base, body_z, packed in rows:
            try:
                block = apply_edits(
                    json.loads(decompress(values.opened(conn, values.LEVEL, base, body_z, image_set_key))),
                    edits.unpack(conn, image_set_key, packed),
                )
            except (*NO_KEY, StorageError, zstandard.ZstdError, ValueError):
                block = None
            yield FormerLevel(store_id, id, block)
        if len(rows) < _PAGE:
            return
        after = rows[-1][0], rows[-1][1]
