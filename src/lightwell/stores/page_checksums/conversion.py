"""Gives an SQLite database of an earlier release room for checksums of its pages, by copying it."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from lightwell.errors import StorageError
from lightwell.stores.page_checksums import vfs
from lightwell.stores.page_checksums.state import CHECKSUMS, PAGES
from lightwell.stores.page_checksums.temporary_files import use_files

_CREATES = re.compile(r"(CREATE\s+(?:VIRTUAL\s+TABLE|TABLE|UNIQUE\s+INDEX|INDEX|TRIGGER)\s+)", re.IGNORECASE)


def convert(path: Path) -> bool:
    """Copy the database to a file with checksums, compare all rows, and put it in the place of the old one.

    False if it has checksums already. Nobody else may have it open. May be interrupted at any point: the old
    file is there until the new one takes its name. Raises `StorageError`, also where others have it open.
    """
    if (reason := vfs.why_unavailable()) is not None:
        raise StorageError(f"The pages of the database cannot have checksums: {reason}.")
    draft = path.with_name(path.name + ".checksums")
    _remove(draft)
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0.5)) as conn:
            use_files(conn, path.parent)
            if conn.execute("PRAGMA checksum_verification").fetchone() == ("1",):
                return False
            # Takes away the log, and fails if anybody else has the database open.
            if conn.execute("PRAGMA journal_mode=DELETE").fetchone() != ("delete",):
                raise sqlite3.OperationalError("database is locked")
            vfs.create(draft)
            conn.execute("ATTACH ? AS fresh", (str(draft),))
            conn.execute("BEGIN EXCLUSIVE")
            version = conn.execute("PRAGMA main.data_version").fetchone()
            _copy(conn)
            _compare(conn)
            marked = "INSERT OR REPLACE INTO fresh.installation (name, value) VALUES (?, ?)"
            conn.execute(marked, (PAGES, CHECKSUMS))
            conn.execute("COMMIT")
            conn.execute("DETACH fresh")
            _check(draft)
            conn.execute("BEGIN EXCLUSIVE")
            # Nobody was kept out while the copy was checked.
            is_other = conn.execute("PRAGMA main.data_version").fetchone() != version
            if is_other or conn.execute("PRAGMA main.journal_mode").fetchone() != ("delete",):
                raise sqlite3.OperationalError("it was written to meanwhile: the copy is discarded")
            draft.replace(path)
            _flush(path.parent)
    except sqlite3.Error as error:
        hint = " Is a server or a shell still using it?" if "locked" in str(error) else ""
        raise StorageError(f"The database {path} could not be copied: {error}.{hint}") from error
    finally:
        _remove(draft)
    return True


def _copy(conn: sqlite3.Connection) -> None:
    schema = conn.execute(
        "SELECT type, name, sql FROM main.sqlite_schema"
        " WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
    ).fetchall()
    if unknown := {kind for kind, _, _ in schema} - {"table", "index", "trigger"}:
        raise sqlite3.NotSupportedError(f"it has a {unknown.pop()}, which lightwell has not made")
    # A virtual table makes tables of its own, which then get the rows of those that are copied.
    tables = [(name, sql) for kind, name, sql in schema if kind == "table"]
    for name, sql in sorted(tables, key=lambda each: "VIRTUAL" not in each[1][:20].upper()):
        if not conn.execute("SELECT 1 FROM fresh.sqlite_schema WHERE name = ?", (name,)).fetchone():
            conn.execute(_CREATES.sub(r"\1fresh.", sql, count=1))
    for table, columns in _tables(conn):
        conn.execute(f"DELETE FROM fresh.{table}")
        conn.execute(f"INSERT INTO fresh.{table} ({columns}) SELECT {columns} FROM main.{table}")
    for kind, _, sql in schema:
        if kind != "table":
            conn.execute(_CREATES.sub(r"\1fresh.", sql, count=1))


def _compare(conn: sqlite3.Connection) -> None:
    for table, columns in _tables(conn):
        counts = {
            conn.execute(f"SELECT count(*) FROM {schema}.{table}").fetchone() for schema in ("main", "fresh")
        }
        differs = conn.execute(
            f"SELECT EXISTS(SELECT {columns} FROM main.{table} EXCEPT SELECT {columns} FROM fresh.{table})"
        ).fetchone()[0]
        if len(counts) > 1 or differs:
            raise sqlite3.DatabaseError(f"the copy of {table} differs")


def _check(draft: Path) -> None:
    with closing(sqlite3.connect(draft)) as conn:
        use_files(conn, draft.parent)
        if (said := conn.execute("PRAGMA integrity_check").fetchone()) != ("ok",):
            raise sqlite3.DatabaseError(f"the copy is not intact: {said[0]}")


def _tables(conn: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """(name, columns) of each table that holds rows itself, quoted; the row ids are among the columns."""
    found = conn.execute(
        "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'shadow')"
        " AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
    ).fetchall()
    for name, has_no_row_ids in found:
        columns = [column for (column,) in conn.execute("SELECT name FROM pragma_table_info(?)", (name,))]
        listed = ", ".join(f'"{column}"' for column in columns)
        yield f'"{name}"', listed if has_no_row_ids else f"rowid, {listed}"


def _remove(draft: Path) -> None:
    for ending in ("", "-journal", "-wal", "-shm"):
        draft.with_name(draft.name + ending).unlink(missing_ok=True)


def _flush(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
