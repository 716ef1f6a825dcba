"""Uploads from before 0017 are counted, and are in the bucket of the settings."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from lightwell.settings import Settings
from lightwell.stores.db.database import Database
from lightwell.stores.db.schema import migrate
from lightwell.stores.jobs import uploads
from tests.stores.jobs.test_units_migration import BACK_TO_0017

BACK = (
    *BACK_TO_0017,
    "DROP INDEX session_by_person",
    "DROP INDEX session_by_parent",
    "DROP INDEX session_by_end",
    "ALTER TABLE access_key DROP COLUMN taken_by",
    "ALTER TABLE import_job DROP COLUMN owner",
    *(
        f"ALTER TABLE upload DROP COLUMN {name}"
        for name in ("bucket", "claimed_files", "claimed_size", "arrived_files", "arrived_size", "last_at")
    ),
    "INSERT INTO upload (id, datastore, caller, name, files, size, created_at, is_removed)"
    " VALUES ('one', 1, 'ann', 'x', 3, 9, 5, false), ('none', 1, 'ann', 'x', 3, 9, 5, false)",
    "INSERT INTO uploaded_file (upload, key, name, size, digest, arrived_at)"
    " VALUES ('one', 'a', 'a', 4, '', 7), ('one', 'b', 'b', 3, '', 8)",
    "UPDATE alembic_version SET version_num = '0016'",
)


def test_older_uploads_are_counted(database: Database, tmp_path: Path) -> None:
    for statement in BACK:
        database.write(lambda conn, sql=statement: conn.execute(text(sql)))  # type: ignore[misc]
    assert migrate(database)
    with database.read() as conn:
        one, none = uploads.find(conn, 1, "ann", "one"), uploads.find(conn, 1, "ann", "none")
    assert one is not None and none is not None
    counts = (one.claimed_files, one.claimed_size, one.arrived_files, one.arrived_size)
    assert (counts, one.touched_at) == ((2, 7, 2, 7), 8)
    assert (none.claimed_files, none.arrived_size, none.touched_at) == (0, 0, 5)
    assert not one.has_room(3) and one.has_room(2)
    assert uploads.bucket_of(one, Settings(data=tmp_path, console_bucket="mine")) == "mine"
