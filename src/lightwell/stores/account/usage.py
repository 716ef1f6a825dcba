"""How much each data store holds, counted in bounded time and memory.

Keys are random 63-bit integers, so the rows are read in the order of their keys: where time runs out, the
share of the keys that was read is that of the rows that were counted, and the rest is estimated from it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Table, case, exists, func, select, text

from lightwell.domain.states import ImageSetState, PackState
from lightwell.stores.db import drivers
from lightwell.stores.db.database import Database
from lightwell.stores.db.tables import image_set, pack, pixels, record, study

_PAGE = 20_000
_KEYS = 2**63


@dataclass(frozen=True, slots=True)
class Usage:
    """What a data store holds. All are counts of rows, or bytes.

    ``image_sets`` are ACTIVE; ``instances`` are those of their newest versions, a copy's own included.
    ``frames`` are counted once however many copies and versions share them, those of earlier versions too.
    ``pack_bytes`` is what packs take; ``original_bytes`` is the part of them that is originals: data sets
    without pixels, compressed. ``is_estimated``: there was no time to count every row.
    """

    image_sets: int = 0
    studies: int = 0
    instances: int = 0
    frames: int = 0
    pack_bytes: int = 0
    original_bytes: int = 0
    is_estimated: bool = False


def usage(db: Database, is_late: Callable[[], bool]) -> dict[int, Usage]:
    """The usage of each data store, by key. ``is_late`` is asked after every few thousand rows."""
    is_active = image_set.c.state == ImageSetState.ACTIVE
    is_held = exists().where(image_set.c.study == study.c.key, is_active)
    size = case((pack.c.state == PackState.LIVE, func.coalesce(pack.c.size, 0)), else_=0)
    counted: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    is_estimated = False
    counts: list[tuple[Table, dict[str, ColumnElement[int]]]] = [
        (image_set, {
            "image_sets": case((is_active, 1), else_=0),
            "instances": case((is_active, image_set.c.instance_count), else_=0),
        }),
        (study, {"studies": case((is_held, 1), else_=0)}),
        (pack, {"pack_bytes": size}),
        (pixels, {"frames": pixels.c.frame_count}),
        (record, {"original_bytes": record.c.original_length}),
    ]  # fmt: skip
    for table, sums in counts:
        share = _sum(db, table, sums, counted, is_late)
        is_estimated |= share < 1
    return {store: Usage(**values, is_estimated=is_estimated) for store, values in counted.items()}


def _sum(
    db: Database,
    table: Table,
    sums: dict[str, ColumnElement[int]],
    counted: dict[int, dict[str, int]],
    is_late: Callable[[], bool],
) -> float:
    """Add the sums over a table, by data store; returns which share of the keys was read, 1 for all."""
    found: dict[int, list[int]] = {}
    after, share = -1, 1.0
    while True:
        page = (
            select(table.c.key, table.c.datastore, *(value.label(name) for name, value in sums.items()))
            .where(table.c.key > after)
            .order_by(table.c.key)
            .limit(_PAGE)
            .subquery()
        )
        columns = [page.c[name] for name in sums]
        grouped = select(
            page.c.datastore, func.max(page.c.key), func.count(), *(func.sum(column) for column in columns)
        ).group_by(page.c.datastore)
        with db.read() as conn:
            rows = conn.execute(grouped).all()
        for store, _, _, *values in rows:
            before = found.setdefault(store, [0] * len(values))
            found[store] = [a + int(b) for a, b in zip(before, values, strict=True)]
        if sum(row[2] for row in rows) < _PAGE:
            break
        after = max(row[1] for row in rows)
        if is_late():
            share = (after + 1) / _KEYS
            break
    for store, values in found.items():
        for name, value in zip(sums, values, strict=True):
            counted[store][name] += round(value / share)
    return share


def database_bytes(db: Database) -> int:
    """What the database takes, with its write-ahead log on SQLite; on PostgreSQL the whole database."""
    if db.dialect == "sqlite":
        path = drivers.sqlite_path(db.url)
        files = (path.with_name(path.name + end) for end in ("", "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())
    with db.read() as conn:
        return int(conn.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
