"""Old events, client tokens and outcomes go; what is young, waits or belongs to a running job stays."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, insert, select

from lightwell.stores.background import obsolete_rows
from lightwell.stores.db.database import Database
from lightwell.stores.db.tables import import_job, outbox, outcome, token


def job(key: int, phase: str, ended_at: int | None) -> dict[str, object]:
    texts = dict.fromkeys(("role_arn", "input_uri", "output_uri", "caller"), "x")
    numbers = dict.fromkeys(("datastore", "submitted_at", "scanned", "read"), 3)
    own = {"key": key, "id": str(key), "phase": phase, "ended_at": ended_at, "status": "COMPLETED"}
    return {**texts, **numbers, **own}


@pytest.fixture
def filled(database: Database) -> Database:
    def fill(conn: Connection) -> None:
        times = [10, 20, None, 30, 40]
        conn.execute(insert(outbox), [{"event": "{}", "delivered_at": time} for time in times])
        tokens = [
            {"operation": "o", "account": "a", "token": str(time), "created_at": time} for time in (1, 2, 9)
        ]
        conn.execute(insert(token), [{**row, "request_hash": b"", "answer": b""} for row in tokens])
        jobs = [job(1, "done", 10), job(2, "done", 50), job(3, "read", None), job(4, "done", 20)]
        conn.execute(insert(import_job), jobs)
        files = [{"job": key, "file": file, "input_file": "f", "kind": "imported"} for key in range(1, 5)
                 for file in range(3)]  # fmt: skip
        conn.execute(insert(outcome), files)

    database.write(fill)
    return database


@pytest.mark.parametrize(
    ("remove", "before", "limit", "counts", "column", "left"),
    [
        (obsolete_rows.remove_events, 35, 2, [2, 1, 0], outbox.c.delivered_at, [40, None]),
        (obsolete_rows.remove_client_tokens, 9, 1, [1, 1, 0], token.c.created_at, [9]),
        (obsolete_rows.remove_outcomes, 50, 2, [2, 1, 2, 1, 0], outcome.c.job, [2, 2, 2, 3, 3, 3]),
    ],
)
def test_removes_what_is_old_a_few_rows_at_a_time(
    filled: Database, remove: object, before: int, limit: int, counts: list[int], column: object, left: object
) -> None:
    found = [filled.write(lambda conn: remove(conn, before, limit)) for _ in counts]  # type: ignore[operator]
    assert found == counts
    with filled.read() as conn:
        values = conn.execute(select(column)).scalars().all()  # type: ignore[call-overload]
    assert sorted(values, key=lambda value: (value is None, value)) == left
