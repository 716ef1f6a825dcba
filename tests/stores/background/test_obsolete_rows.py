"""Old events, client tokens, outcomes, dead units go; what is young, waits or is of a running job stays."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, insert, select

from lightwell.stores.background import obsolete_rows
from lightwell.stores.db.database import Database
from lightwell.stores.db.tables import chunk, import_job, outbox, outcome, token, unit
from lightwell.stores.jobs import queue_view


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
        # The units that were given up, each of a chunk beside one that was read; and what still waits.
        states = [
            (1, "dead"),
            (2, "dead"),
            (3, "dead"),
            (3, "ready"),
            (3, "claimed"),
            (4, "dead"),
            (4, "dead"),
        ]
        units = [
            {"job": key, "phase": "read", "number": number, "state": state, "files": 1, "since": 1}
            for number, (key, state) in enumerate(states)
        ]
        conn.execute(insert(unit).values(not_before=0, tries=1), units)
        rows = [{"job": key, "number": number, "first_file": 0, "file_count": 1}
                for number, (key, _) in enumerate(2 * states)]  # fmt: skip
        conn.execute(insert(chunk).values(files_z=b""), rows)

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


def test_removes_what_was_given_up_and_its_lists_of_files_last(filled: Database) -> None:
    found = []
    while removed := filled.write(lambda conn: obsolete_rows.remove_dead_units(conn, 50, 2)):
        found.append(removed)
        with filled.read() as conn:
            lists = conn.execute(select(chunk.c.job)).scalars().all()
            shown = {one.job for one in queue_view.summary(conn) if one.state == "dead"} - {"2", "3"}
        assert not shown or lists.count(1) + lists.count(4) == 6, "units go first"
    assert sum(found) == 3 + 6 and max(found) == 2
    with filled.read() as conn:
        units = conn.execute(select(unit.c.job, unit.c.state).order_by(unit.c.job, unit.c.state)).all()
        lists = conn.execute(select(chunk.c.job)).scalars().all()
    assert [tuple(row) for row in units] == [(2, "dead"), (3, "claimed"), (3, "dead"), (3, "ready")]
    assert sorted(set(lists)) == [2, 3] and len(lists) == 2 + 6
