"""Sessions are counted, and ended ones removed, without reading all there are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection, event

from lightwell.stores.account import principals
from lightwell.stores.account.principals import AccessKey
from lightwell.stores.db.database import Database
from lightwell.stores.db.schema import migrate

SESSION = AccessKey(
    "ASLW" + "A" * 16, "me", b"", b"", is_root=False, created_at=1, expires_at=2, revoked_at=None
)


def test_are_found_by_indexes(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/new.db")
    migrate(db)
    plans: list[str] = []

    def work(conn: Connection) -> None:
        asked: list[tuple[str, object]] = []
        event.listen(conn, "before_cursor_execute", lambda *of: asked.append((of[2], of[3])))
        principals.remove_ended(conn, 5)
        principals.is_full(conn, 1, 9, replace(SESSION, parent="AKLW"))
        principals.is_full(conn, 1, 9, replace(SESSION, provider="https://id.example.org", subject="1"))
        for statement, values in list(asked):
            plans.extend(
                str(row[3])
                for row in conn.connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
                if "access_key" in str(row[3])
            )

    db.write(work)
    assert [plan.split(" (")[0].rpartition(" ")[2] for plan in plans] == [
        "session_by_end",
        "session_by_parent",
        "session_by_person",
    ], plans
    db.close()
