"""Compares the grams by which parts of texts are found with those that the texts yield.

A gram that is missing hides a study from a search. One too many costs a look at a row that then does not
match, and is told on PostgreSQL only, where a row has all of its grams: SQLite's index can be asked for a
gram, and not for what it has of a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from lightwell.domain.qido.grams import keyword_of_gram
from lightwell.stores.db.bulk import batches
from lightwell.stores.qido.grams import Of, grams_of

# So many grams are asked for at once.
_AT_ONCE = 64
_TABLES: tuple[Of, ...] = ("study", "series")
_SQLITE = {of: f"SELECT 1 FROM {of}_grams WHERE {of}_grams MATCH ? AND rowid = ?" for of in _TABLES}
_POSTGRESQL = {
    of: f"SELECT tsvector_to_array(grams) FROM {of}_grams WHERE {of} = %s"
    f" AND grams IS DISTINCT FROM array_to_tsvector(string_to_array(%s, ' '))"
    for of in _TABLES
}
_POSTGRESQL_HAS = {of: f"SELECT 1 FROM {of}_grams WHERE {of} = %s" for of in _TABLES}


def faults(conn: Connection, of: Of, key: int, row: Mapping[str, Any]) -> list[str]:
    """What parts of texts of a study or a series, given its row, do not find; by keyword."""
    expected = grams_of(of, row).split()
    lacking: Sequence[str]
    surplus: Sequence[str] = ()
    if conn.dialect.name == "sqlite":
        lacking = missing(conn, of, key, expected)
    else:
        lacking, surplus = _of_postgresql(conn, of, key, expected)
    found = [
        f"parts of {keyword} of its {of} do not find it: DICOMweb's index lacks {count} of their grams"
        for keyword, count in _by_keyword(lacking)
    ]
    return found + [
        f"DICOMweb's index has {count} grams of {keyword} of its {of} that are not in it"
        for keyword, count in _by_keyword(surplus)
    ]


def missing(conn: Connection, of: Of, key: int, expected: Sequence[str]) -> list[str]:
    """Those of the grams that SQLite's index does not have of a study or a series."""
    return [
        gram
        for some in batches(expected, _AT_ONCE)
        if not _has(conn, of, key, some)
        for gram in some
        if not _has(conn, of, key, [gram])
    ]


def _has(conn: Connection, of: Of, key: int, grams: Iterable[str]) -> bool:
    wanted = " AND ".join(f'"{gram}"' for gram in grams)
    return conn.exec_driver_sql(_SQLITE[of], (wanted, key)).first() is not None


def _of_postgresql(
    conn: Connection, of: Of, key: int, expected: Sequence[str]
) -> tuple[Sequence[str], Sequence[str]]:
    """Those that are missing, and those too many."""
    if conn.exec_driver_sql(_POSTGRESQL_HAS[of], (key,)).first() is None:
        return expected, []
    row = conn.exec_driver_sql(_POSTGRESQL[of], (key, " ".join(expected))).first()
    if row is None:
        return [], []
    kept, wanted = set(row[0]), set(expected)
    return sorted(wanted - kept), sorted(kept - wanted)


def _by_keyword(grams: Sequence[str]) -> list[tuple[str, int]]:
    found: dict[str, int] = {}
    for gram in grams:
        keyword = keyword_of_gram(gram)
        found[keyword] = found.get(keyword, 0) + 1
    return sorted(found.items())
