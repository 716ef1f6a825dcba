"""Frames of a database, to be looked at after a move."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from lightwell.domain.image_sets.frame_checks import checksum_at
from lightwell.domain.image_sets.frame_table import read_place
from lightwell.stores.db.tables import frame_table, pixels
from lightwell.stores.objects.pack_objects import pack_name


def some(conn: Connection, limit: int) -> Iterator[tuple[str, int, int, int | None]]:
    """Object, offset, length and CRC-32 of the stored bytes of the first frames of some pixels.

    Keys are random, and so is which pixels have the lowest. The CRC-32 is None where none was made yet.
    """
    rows = conn.execute(
        select(pixels.c.pack, frame_table.c.entries, frame_table.c.checks)
        .join(frame_table, frame_table.c.pixels == pixels.c.key)
        .where(frame_table.c.first_frame == 0)
        .order_by(pixels.c.key)
        .limit(limit)
    )
    for pack, entries, checks in rows:
        place = read_place(entries, 0)
        if place is not None:
            yield pack_name(pack), place[0], place[1], None if checks is None else checksum_at(checks, 0)
