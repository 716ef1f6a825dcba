"""Cancelling an import job in each of its phases, while an engine works on it, on both databases."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from lightwell.errors import ConflictError
from lightwell.ingest import report
from lightwell.operations.import_jobs import cancel_import_job
from lightwell.stores.db import tables
from lightwell.work.imports import import_phases
from lightwell.work.imports.import_phases import ImportPhases
from lightwell.work.imports.leases import Leases
from tests.support import invariants
from tests.support.collector import collector, living
from tests.support.ct_files import ct, write
from tests.support.imports import Importing


def three_series(server: Importing) -> None:
    for series in "123":
        write(server.input / f"{series}.dcm", ct(1, series=series))


def events(server: Importing) -> list[tuple[str, str]]:
    with server.stores.db.read() as conn:
        found = [json.loads(text) for text in conn.execute(select(tables.outbox.c.event)).scalars()]
    return [
        (each["detail-type"], each["detail"]["jobStatus"]) for each in found if "jobStatus" in each["detail"]
    ]


def rows(server: Importing, *names: str) -> int:
    with server.stores.db.read() as conn:
        return sum(
            conn.execute(select(func.count()).select_from(tables.metadata.tables[name])).scalar_one()
            for name in names
        )


def cancel_at(
    server: Importing, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, *, after: bool = False
) -> None:
    """Cancel the only job when a function is called for the first time, before it or ``after`` it."""
    real: Callable[..., Any] = getattr(place, name)
    called: list[str] = []

    def patched(*args: Any, **named: Any) -> Any:
        is_first = not called
        called.append(name)
        if is_first and not after:
            cancel(server)
        result = real(*args, **named)
        if is_first and after:
            cancel(server)
        return result

    monkeypatch.setattr(place, name, patched)


def cancel(server: Importing) -> None:
    with server.stores.db.read() as conn:
        id = conn.execute(select(tables.import_job.c.id)).scalar_one()
    cancel_import_job(server.context, server.job(id))


@pytest.mark.parametrize(
    ("place", "name", "after", "sets", "message"),
    [
        (report, "check_output", False, 0, "Cancelled before any of its files was imported."),
        (Leases, "commit", False, 0, "Cancelled before any of its files was imported."),
        (ImportPhases, "_commit", False, 0, "Cancelled before any of its files was imported."),
        (
            ImportPhases, "_commit_groups", True, 1,
            "Cancelled: 1 file was imported before that, which is not undone, the others were not.",
        ),
        (
            report, "write_report", False, 3,
            "Cancelled while its report was being written: 3 files were imported before that, which is not "
            "undone.",
        ),
    ],
)  # fmt: skip
def test_it_ends_the_job_in_any_phase(
    server: Importing,
    monkeypatch: pytest.MonkeyPatch,
    place: Any,
    name: str,
    after: bool,
    sets: int,
    message: str,
) -> None:
    three_series(server)
    monkeypatch.setattr(import_phases, "_GROUPS", 1)
    cancel_at(server, monkeypatch, place, name, after=after)
    job = server.start()
    server.work()
    server.close_engine()
    job = server.job(job.id)
    assert (job.status, job.phase, job.message) == ("FAILED", "done", message) and job.ended_at
    assert len(living(server)) == sets and rows(server, "chunk", "staged") == 0
    assert events(server) == [
        ("Import Job Submitted", "SUBMITTED"),
        ("Import Job In Progress", "IN_PROGRESS"),
        ("Import Job Failed", "FAILED"),
    ]
    invariants.check(server.stores)
    collector(server).collect()
    invariants.check_collected(server.stores)
    assert rows(server, "record") == sets


def test_it_cancels_what_nobody_has_begun_and_nothing_twice(server: Importing) -> None:
    three_series(server)
    first = server.start()
    ended = cancel_import_job(server.context, first)
    assert (ended.status, ended.message) == ("FAILED", "Cancelled before any of its files was imported.")
    with pytest.raises(ConflictError, match="has ended before: it is FAILED"):
        cancel_import_job(server.context, first)
    done = server.run()
    with pytest.raises(ConflictError, match="it is COMPLETED"):
        cancel_import_job(server.context, done.job)
    assert [status for _, status in events(server)].count("FAILED") == 1
    assert server.job(done.job.id).status == "COMPLETED" and len(living(server)) == 3
