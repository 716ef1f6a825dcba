"""Whether a database has checksums of its pages, so that damage is noticed before it is read."""

from __future__ import annotations

from sqlalchemy import Connection

from lightwell.stores.page_checksums.vfs import why_unavailable

PAGES, CHECKSUMS = "pages", "checksums"
"""Name and value of the row of ``installation`` of an SQLite database whose pages have checksums."""


def missing(conn: Connection) -> str | None:
    """None if pages are compared with checksums, else why not, and what to do."""
    if conn.dialect.name == "postgresql":
        return _missing_of_postgresql(conn)
    if (reason := why_unavailable()) is not None:
        return (
            f"pages of the database have no checksums: {reason}. Install apsw in a Python whose sqlite3 "
            "loads extensions, stop the server, and run `lightwell data migrate --page-checksums`"
        )
    if str(conn.exec_driver_sql("PRAGMA checksum_verification").scalar()) == "1":
        return None
    return (
        "pages of the database have no checksums, since an earlier release, or a Python without extensions "
        "of SQLite, has made it: stop the server and run `lightwell data migrate --page-checksums`"
    )


def _missing_of_postgresql(conn: Connection) -> str | None:
    row = conn.exec_driver_sql(
        "SELECT current_setting('data_checksums'), current_setting('ignore_checksum_failure')"
    ).one()
    if row[0] != "on":
        return (
            "PostgreSQL's data_checksums are off, so it would serve what its disk has changed: stop it and "
            "run `pg_checksums --enable`, or make a new cluster with `initdb --data-checksums`"
        )
    if row[1] == "on":
        return "PostgreSQL's ignore_checksum_failure is on, so it serves damaged pages: set it to off"
    return None
