"""The collector's list of rows that may be named by nothing any more, and the lock that it needs.

Whoever takes away a name writes here what it named. The collector scans the tables of names for what is on
the list (`named`), and removes what it does not find. A scan costs imports and copies nothing, where an index
on each naming column would cost them an entry a row; a million members are scanned in half a second.

Why no row is removed that is named, with these three rules:

1. **Dead stays dead.** A record, pixels or dictionary that nothing names is never named again: a name is only
   ever copied from a row of a set that is not deleted, under the lock of that set, or from a staged row that
   goes in the same transaction. So a scan that starts after the last name is gone may take all the time it
   needs.
2. **Found by content.** Level values, instances and studies are found again by hash or UID; and pixels, in
   spite of rule 1, by a file that is equal to them. Whoever looks for one holds `lock_shared` until the end
   of the transaction, and strikes what it has found off the list (`unmark`). The collector puts rows on the
   list, and removes them, under `lock_exclusive` only, and removes none that is off it.
3. **Marks.** A name that goes while a scan runs, which may have seen it or not, puts its row on the list
   again with another mark; the collector acts on a scan only where the mark is the one from before it.

On SQLite a write transaction is alone anyway, so the lock is none there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    text,
    tuple_,
    union_all,
    update,
)

from lightwell.stores.db.bulk import batches, insert_missing
from lightwell.stores.db.tables import leftover, level, member, record, staged

# The kinds of rows on the list. They are in databases: never renumbered.
SET, RECORD, PIXELS, DICTIONARY, LEVEL, INSTANCE, STUDY, PACK = range(1, 9)
_TURN = 0  # one row, its mark the time until which a collector has the turn

_LOCK = 0x6C69676E  # advisory, of the database

# The columns that name rows of a kind. Sets, studies and packs are found by indexes, see `removal`.
_NAMES: Mapping[int, tuple[ColumnElement[int], ...]] = {
    RECORD: (member.c.record, staged.c.record),
    PIXELS: (record.c.pixels, member.c.pixels),
    DICTIONARY: (record.c.dictionary, record.c.dicom_dictionary),
    LEVEL: (record.c.patient_value, record.c.study_value, record.c.series_value, level.c.base),
    INSTANCE: (member.c.instance,),
}


@dataclass(frozen=True, slots=True)
class Leftover:
    """A row on the list."""

    key: int
    mark: int


def lock_shared(conn: Connection) -> None:
    """Let the collector remove nothing that this transaction finds by content, until it ends."""
    if conn.dialect.name != "sqlite":
        conn.execute(text("SELECT pg_advisory_xact_lock_shared(:lock)"), {"lock": _LOCK})


def lock_exclusive(conn: Connection, *, wait: bool) -> bool:
    """Be the only transaction that holds `lock_shared` or this; False where another does and ``wait`` is not
    set.

    A holder must wait for no other lock, so that whoever holds one may wait for this.
    """
    if conn.dialect.name == "sqlite":
        return True
    if wait:
        conn.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        return True
    return bool(conn.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}).scalar())


def add(conn: Connection, kind: int, keys: Iterable[int | None], mark: int) -> None:
    """Put rows on the list, those that are on it under a new mark. ``mark`` is of this transaction alone.

    Level values, instances, pixels and dictionaries under `lock_exclusive` only.
    """
    wanted = sorted({key for key in keys if key is not None})
    unmark(conn, kind, wanted)
    rows = [{"kind": kind, "key": key, "mark": mark} for key in wanted]
    insert_missing(conn, leftover, rows, ["kind", "key"])


def add_staged(conn: Connection, job: int) -> None:
    """Put the records of all staged rows of a job on the list, which no image set will name."""
    listed = exists().where(leftover.c.kind == RECORD, leftover.c.key == staged.c.record)
    rows = select(literal(RECORD), staged.c.record, literal(0)).where(staged.c.job == job, ~listed)
    conn.execute(leftover.insert().from_select(["kind", "key", "mark"], rows))


def unmark(conn: Connection, kind: int, keys: Iterable[int]) -> None:
    """Strike rows off the list."""
    for some in batches(keys):
        conn.execute(delete(leftover).where(leftover.c.kind == kind, leftover.c.key.in_(some)))


def strike(conn: Connection, kind: int, rows: Sequence[Leftover]) -> None:
    """Strike off those rows that are on the list under the same mark still: for who does not hold
    `lock_exclusive`."""
    for some in batches((row.key, row.mark) for row in rows):
        these = tuple_(leftover.c.key, leftover.c.mark).in_(some)
        conn.execute(delete(leftover).where(leftover.c.kind == kind, these))


def any_of(conn: Connection, kind: int) -> bool:
    """Whether anything of a kind is on the list."""
    return conn.execute(select(leftover.c.key).where(leftover.c.kind == kind).limit(1)).first() is not None


def page(conn: Connection, kind: int, after: int, limit: int) -> list[Leftover]:
    """At most ``limit`` rows of a kind in key order, behind the key ``after`` (-1 for the first)."""
    rows = conn.execute(
        select(leftover.c.key, leftover.c.mark)
        .where(leftover.c.kind == kind, leftover.c.key > after)
        .order_by(leftover.c.key)
        .limit(limit)
    )
    return [Leftover(*row) for row in rows]


def counts(conn: Connection) -> dict[int, int]:
    """How many rows of each kind are on the list."""
    rows = conn.execute(
        select(leftover.c.kind, func.count()).where(leftover.c.kind != _TURN).group_by(leftover.c.kind)
    )
    return {kind: count for kind, count in rows}


def named(conn: Connection, pages: Mapping[int, Sequence[Leftover]]) -> dict[int, set[int]]:
    """Which rows of each kind anything names. ``pages``: what `page` gave for each kind.

    One statement, and so one state of the database; it reads the tables of names from end to end.
    """
    if conn.dialect.name != "sqlite":
        conn.execute(text("SET LOCAL statement_timeout = 0"))
    scans = [
        select(literal(kind).label("kind"), column.label("key"))
        .where(
            column.in_(
                select(leftover.c.key).where(
                    leftover.c.kind == kind, leftover.c.key.between(found[0].key, found[-1].key)
                )
            )
        )
        .distinct()
        for kind, found in pages.items()
        if found
        for column in _NAMES[kind]
    ]
    result: dict[int, set[int]] = {kind: set() for kind in pages}
    if scans:
        for kind, key in conn.execute(union_all(*scans)):
            result[kind].add(key)
    return result


def unchanged(conn: Connection, kind: int, rows: Sequence[Leftover]) -> list[int]:
    """The keys of those rows that are on the list still, under the same mark."""
    marks = {row.key: row.mark for row in rows}
    found = conn.execute(
        select(leftover.c.key, leftover.c.mark).where(
            leftover.c.kind == kind, leftover.c.key.in_(list(marks))
        )
    )
    return [key for key, mark in found if marks[key] == mark]


def take_turn(conn: Connection, now: int, until: int, mine: int) -> bool:
    """Be the one collector of the database until ``until``; ``mine`` is the end of the turn that one has.

    For economy alone: two collectors at once are slower, not wrong.
    """
    insert_missing(conn, leftover, [{"kind": _TURN, "key": 0, "mark": 0}], ["kind", "key"])
    free = or_(leftover.c.mark <= now, leftover.c.mark == mine)
    this = and_(leftover.c.kind == _TURN, leftover.c.key == 0, free)
    return conn.execute(update(leftover).where(this).values(mark=until)).rowcount == 1
