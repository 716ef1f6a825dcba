"""The collector's list of rows that nothing may refer to any more, and the lock that it needs.

Whoever removes a reference adds the row that it referred to. The collector scans the referring tables for
the rows on the list (`find_referenced`) and removes those that it does not find. Scanning costs imports and
copies nothing, whereas an index on every referring column would cost them an entry for each row; scanning a
million members takes half a second. On PostgreSQL a large table is scanned in parts (`scan_parts`), each in a
transaction of its own, since one that lasted for minutes would keep vacuum from removing anything.

Three rules keep any row from being removed while something refers to it:

1. **Dead stays dead.** Once nothing refers to a record, pixels or dictionary, nothing ever will: a
   reference is only ever copied from a row of an image set that is not deleted, under the lock of that set,
   or from a staged row that is deleted in the same transaction. So a scan that starts after the last
   reference is gone may take as long as it needs.
2. **Found by content.** Level values, instances and studies are found again by hash or UID; and pixels, in
   spite of rule 1, by a file that equals them. Whoever looks one up holds `lock_shared` until the end of the
   transaction and takes what it has found off the list (`unmark`). The collector adds such rows to the list,
   and removes them, only under `lock_exclusive`, and removes only rows that are on the list.
3. **Marks.** A reference that is removed during a scan, which may or may not have seen it, puts its row on
   the list again under another mark. The collector acts on a scan only where the mark is still the one from
   before the scan.

Parts see different states of the database, so a reference might move from a part that is yet to be scanned to
one that has been. It cannot do so unseen: parts are stretches of a key that never changes, or of a table
whose rows never change; whatever copies a reference and removes the other one lists the row again (rule 3);
and only a commit of an import moves references without that, from ``staged`` to ``member``, so ``staged`` is
scanned first.

On SQLite a write transaction is alone anyway, so there the lock does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    literal,
    literal_column,
    or_,
    select,
    text,
    tuple_,
    union_all,
    update,
)

from lightwell.stores.db.bulk import batches, insert_missing
from lightwell.stores.db.tables import leftover, level, member, record, staged

# The kinds of rows on the list. The numbers are stored in databases: never change them.
SET, RECORD, PIXELS, DICTIONARY, LEVEL, INSTANCE, STUDY, PACK = range(1, 9)
_TURN = 0  # single rows: the mark of one is the time until which one collector has the turn
_STRAYS = 1  # the key of the other, see `claim_strays`

_LOCK = 0x6C69676E  # an advisory lock of the database

_UNMARK = delete(leftover).where(
    leftover.c.kind == bindparam("kind"), leftover.c.key.in_(bindparam("keys", expanding=True))
)
# What one transaction of a scan reads at most, about.
_PART_BYTES = 128 << 20
_PAGE_BYTES = 8192
_PART_SECONDS = 300
_KEYS_END = 1 << 63

# The columns that refer to rows of a kind. For image sets, studies and packs there are indexes, see
# `removal`.
_REFERENCES: Mapping[int, tuple[ColumnElement[int], ...]] = {
    RECORD: (member.c.record, staged.c.record),
    PIXELS: (record.c.pixels, member.c.pixels),
    DICTIONARY: (record.c.dictionary, record.c.dicom_dictionary),
    LEVEL: (record.c.patient_value, record.c.study_value, record.c.series_value, level.c.base),
    INSTANCE: (member.c.instance,),
}


@dataclass(frozen=True, slots=True)
class GcCandidate:
    """A row on the list."""

    key: int
    mark: int


def lock_shared(conn: Connection) -> None:
    """Keep the collector from removing what this transaction finds by content, until the transaction ends."""
    if conn.dialect.name != "sqlite":
        conn.execute(text("SELECT pg_advisory_xact_lock_shared(:lock)"), {"lock": _LOCK})


def lock_exclusive(conn: Connection, *, wait: bool) -> bool:
    """Exclude all other holders of this lock and of `lock_shared`.

    Without ``wait``, returns False at once if there is another holder. The holder must not wait for any other
    lock, so that holders of other locks may wait for this one.
    """
    if conn.dialect.name == "sqlite":
        return True
    if wait:
        conn.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        return True
    return bool(conn.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}).scalar())


def add(conn: Connection, kind: int, keys: Iterable[int | None], mark: int) -> None:
    """Put rows on the list; those that are on it already get the new mark, which must be unique.

    Level values, instances, pixels and dictionaries may be added under `lock_exclusive` only.
    """
    wanted = sorted({key for key in keys if key is not None})
    unmark(conn, kind, wanted)
    rows = [{"kind": kind, "key": key, "mark": mark} for key in wanted]
    insert_missing(conn, leftover, rows, ["kind", "key"])


def add_staged(conn: Connection, job: int) -> None:
    """Put the records of all staged rows of a job on the list: no image set will refer to them."""
    listed = exists().where(leftover.c.kind == RECORD, leftover.c.key == staged.c.record)
    rows = select(literal(RECORD), staged.c.record, literal(0)).where(staged.c.job == job, ~listed)
    conn.execute(leftover.insert().from_select(["kind", "key", "mark"], rows))


def unmark(conn: Connection, kind: int, keys: Iterable[int]) -> None:
    """Take rows off the list."""
    for some in batches(keys):
        conn.execute(_UNMARK, {"kind": kind, "keys": some})


def unmark_unchanged(conn: Connection, kind: int, rows: Sequence[GcCandidate]) -> None:
    """Take those rows off the list that are still on it under the same mark.

    For callers that do not hold `lock_exclusive`.
    """
    for some in batches((row.key, row.mark) for row in rows):
        these = tuple_(leftover.c.key, leftover.c.mark).in_(some)
        conn.execute(delete(leftover).where(leftover.c.kind == kind, these))


def has_any(conn: Connection, kind: int) -> bool:
    """Whether any row of a kind is on the list."""
    return conn.execute(select(leftover.c.key).where(leftover.c.kind == kind).limit(1)).first() is not None


def page(conn: Connection, kind: int, after: int, limit: int) -> list[GcCandidate]:
    """At most ``limit`` rows of a kind in key order, after the key ``after`` (-1 to begin)."""
    rows = conn.execute(
        select(leftover.c.key, leftover.c.mark)
        .where(leftover.c.kind == kind, leftover.c.key > after)
        .order_by(leftover.c.key)
        .limit(limit)
    )
    return [GcCandidate(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class ScanPart:
    """A part of a table that one transaction reads; ``rows`` is None for the whole table."""

    table: Table
    rows: ColumnElement[bool] | None


def scan_parts(conn: Connection, kinds: Iterable[int]) -> list[ScanPart]:
    """The parts, in the order in which they have to be scanned, of all tables that refer to these kinds."""
    named = {column.table for kind in kinds for column in _REFERENCES[kind]}
    tables = [table for table in (staged, record, member, level) if table in named]
    if conn.dialect.name == "sqlite":
        return [ScanPart(table, None) for table in tables]
    return [part for table in tables for part in _parts(conn, table)]


def _parts(conn: Connection, table: Table) -> Iterator[ScanPart]:
    size = conn.execute(text(f"SELECT pg_relation_size('{table.name}')")).scalar_one()
    count = size // _PART_BYTES + 1
    if count == 1 or table is staged:
        yield ScanPart(table, None)
    elif table is record:
        # No statement changes a record, so it stays where it is and the table can be read block by block.
        blocks = _PART_BYTES // _PAGE_BYTES
        for place in range(count):
            rows = f"record.ctid >= '({place * blocks},0)'"
            if place < count - 1:  # the last part has no end: the table may grow
                rows += f" AND record.ctid < '({(place + 1) * blocks},0)'"
            yield ScanPart(table, literal_column(f"({rows})", Boolean))
    else:
        # Keys of image sets are random, so equal stretches hold about equally many rows.
        step = _KEYS_END // count + 1
        for low in range(0, _KEYS_END, step):
            yield ScanPart(table, table.c.image_set.between(low, min(low + step, _KEYS_END) - 1))


def scanned_file(conn: Connection) -> object:
    """What tells whether ``record`` was rewritten, by VACUUM FULL, say, so that rows are elsewhere now."""
    if conn.dialect.name == "sqlite":
        return None
    return conn.execute(text("SELECT pg_relation_filenode('record')")).scalar()


def find_referenced(
    conn: Connection, pages: Mapping[int, Sequence[GcCandidate]], part: ScanPart | None = None
) -> dict[int, set[int]]:
    """The rows of each kind that something refers to. ``pages``: what `page` returned for each kind.

    One statement, and so one state of the database; it reads the referring tables from end to end, or one
    part of one of them.
    """
    if conn.dialect.name != "sqlite":
        conn.execute(text(f"SET LOCAL statement_timeout = '{_PART_SECONDS}s'"))
    scans = []
    for kind, found in pages.items():
        for column in _REFERENCES[kind]:
            if not found or (part is not None and column.table is not part.table):
                continue
            listed = select(leftover.c.key).where(
                leftover.c.kind == kind, leftover.c.key.between(found[0].key, found[-1].key)
            )
            scan = select(literal(kind).label("kind"), column.label("key")).where(column.in_(listed))
            if part is not None and part.rows is not None:
                scan = scan.where(part.rows)
            scans.append(scan.distinct())
    result: dict[int, set[int]] = {kind: set() for kind in pages}
    if scans:
        for kind, key in conn.execute(union_all(*scans)):
            result[kind].add(key)
    return result


def still_marked(conn: Connection, kind: int, rows: Sequence[GcCandidate]) -> list[int]:
    """The keys of those rows that are still on the list under the same mark."""
    marks = {row.key: row.mark for row in rows}
    found = conn.execute(
        select(leftover.c.key, leftover.c.mark).where(
            leftover.c.kind == kind, leftover.c.key.in_(list(marks))
        )
    )
    return [key for key, mark in found if marks[key] == mark]


def claim_strays(conn: Connection, now: int, pace: int) -> int | None:
    """Claim the next of 256 parts of the search for stray objects; None if it is not time for it yet.

    ``pace`` is how many milliseconds are to lie between two parts. The mark of the row is the time of the
    last part, and in its low eight bits which one that was, so the search goes on wherever it has ended.
    """
    insert_missing(conn, leftover, [{"kind": _TURN, "key": _STRAYS, "mark": 255}], ["kind", "key"])
    this = and_(leftover.c.kind == _TURN, leftover.c.key == _STRAYS)
    last = conn.execute(select(leftover.c.mark).where(this)).scalar_one()
    # A part that was searched in the future was so before the clock was set back.
    if 0 <= now - (last >> 8) < pace:
        return None
    part = (last + 1) & 0xFF
    done = conn.execute(update(leftover).where(this, leftover.c.mark == last).values(mark=(now << 8) | part))
    return part if done.rowcount == 1 else None


def claim_collection(conn: Connection, now: int, until: int, current: int) -> bool:
    """Claim to be the database's only collector until ``until``; False if another one is.

    ``current`` is the end of the claim that the caller has. This only saves work: two collectors at once are
    slower, not wrong.
    """
    insert_missing(conn, leftover, [{"kind": _TURN, "key": 0, "mark": 0}], ["kind", "key"])
    # A claim that ends later than one made now was made before the clock was set back.
    free = or_(leftover.c.mark <= now, leftover.c.mark > until, leftover.c.mark == current)
    this = and_(leftover.c.kind == _TURN, leftover.c.key == 0, free)
    return conn.execute(update(leftover).where(this).values(mark=until)).rowcount == 1
