"""Units of work as people see them: what waits, who has it, and what was given up and is tried again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightwell.cli.main import main
from lightwell.domain.states import JobPhase, UnitState
from lightwell.observe.metrics import COUNTERS, GAUGES
from lightwell.stores.jobs import queue_view
from lightwell.work.engine import Engine, EngineOptions
from lightwell.work.imports.leases import LeasedChunk, Leases
from tests.support import invariants, queued_units
from tests.support.ct_files import write_series
from tests.support.imports import Importing, importing, taken


@pytest.fixture
def server(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Importing]:
    queued_units.hold_claims(monkeypatch)
    made = importing(tmp_path / "data", database_url)
    yield made
    made.close()


@pytest.fixture
def shown(server: Importing, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs ``lightwell queue …`` and returns what it prints."""
    monkeypatch.setenv("LIGHTWELL_DATABASE_URL", server.settings.database)

    def run(*words: str, status: int = 0) -> str:
        assert main(["queue", *words, "--data", str(server.settings.data)]) == status
        printed = capsys.readouterr()
        return printed.out or printed.err

    return run


def test_shows_what_waits_and_who_has_it(server: Importing, shown: Any) -> None:
    assert "Nothing waits" in shown("list") and "Nothing is under way" in shown("claims")
    write_series(server.input, 12)
    job = server.start()
    (row,) = json.loads(shown("list", "--json"))
    assert (row["job"], row["phase"], row["state"], row["units"]) == (job.id, "list", "ready", 1)
    engine = server.engine()
    engine._phases.work(taken(engine, JobPhase.LIST))
    leased = engine._leases.take()
    assert leased is not None
    rows = {row["state"]: row for row in json.loads(shown("list", "--job", job.id, "--json"))}
    assert rows["claimed"]["units"] == 1 and rows["ready"]["again"] == 0
    assert sum(row["files"] for row in rows.values()) == 12
    (claim,) = json.loads(shown("claims", "--json"))
    assert leased.token.claim == claim["who"] and claim["held_ms"] >= 0 and claim["tries"] == 1
    assert leased.token.claim.rpartition(":")[0] in shown("claims")
    engine._leases.release(leased)
    (row,) = json.loads(shown("list", "--json"))
    assert row["again"] == 1
    assert "priority high" in shown("priority", job.id, "high")
    assert json.loads(shown("list", "--json"))[0]["priority"] == 1
    server.work()
    assert server.report(job.id).manifest["numberOfImportedFiles"] == 12
    shown("priority", job.id, "low", status=1)


def test_imports_again_what_was_given_up(
    server: Importing, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(server.input, 12)

    def final_failure(self: Leases, leased: LeasedChunk) -> str | None:
        return "the storage failed again and again" if leased.chunk.number == 0 else None

    with monkeypatch.context() as patch:
        patch.setattr(Leases, "final_failure", final_failure)
        report = server.run()
    failed = len(report.failure)
    assert 0 < failed < 12 and len(report.success) == 12 - failed
    invariants.check(server.stores)
    (dead,) = json.loads(shown("dead", "--json"))
    assert (dead["job"], dead["phase"], dead["files"]) == (report.job.id, "read", failed)
    assert "the storage failed" in shown("dead")
    with server.stores.db.read() as conn:
        assert [d.state for d in queue_view.depths(conn)] == [UnitState.DEAD]
    made = json.loads(shown("retry", report.job.id, "--json"))
    assert made["numberOfFiles"] == failed
    server.work()
    again = server.report(made["jobId"])
    assert len(again.success) == failed and not again.failure
    assert {line["inputFile"] for line in again.success} == {line["inputFile"] for line in report.failure}
    assert again.job.output_uri != report.job.output_uri
    assert json.loads(shown("dead", "--json")) == []
    shown("retry", report.job.id, status=1)
    invariants.check(server.stores)


def test_counts_what_is_taken(server: Importing) -> None:
    write_series(server.input, 3)
    counted: dict[tuple[str, str], int] = {}
    measured: dict[tuple[str, str], float] = {}

    def count(name: str, value: str, by: int) -> None:
        assert value in COUNTERS[name][2]
        counted[name, value] = counted.get((name, value), 0) + by

    def measure(name: str, value: str, number: float) -> None:
        assert value in GAUGES[name][2]
        measured[name, value] = number

    job = server.start()
    options = EngineOptions(
        alone=server.stores.db.dialect == "sqlite", count=count, measure=measure, data_access=None
    )
    engine = Engine(server.stores, server.settings, options=options)
    engine._move_on()
    assert measured["lightwell_queue_ready_units", "list"] == 1
    engine.run(lambda: not server.unfinished())
    assert server.job(job.id).status == "COMPLETED"
    for phase in ("list", "read", "commit", "report"):
        assert counted["lightwell_queue_claims_total", phase] == 1
