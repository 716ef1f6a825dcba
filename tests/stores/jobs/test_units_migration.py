"""Jobs that are under way while the database is migrated to units of work go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from lightwell.domain.imports.jobs import Job
from lightwell.domain.states import JobPhase
from lightwell.stores.db.schema import migrate
from tests.support import invariants
from tests.support.ct_files import write_series
from tests.support.imports import Importing, importing, taken

# What 0018 and later ones do, undone.
BACK_TO_0017 = (
    "DROP TABLE audit_owed",
    "ALTER TABLE access_key DROP COLUMN emergency",
    "ALTER TABLE import_job DROP COLUMN emergency",
    "ALTER TABLE pack DROP COLUMN seal",
    "ALTER TABLE pack DROP COLUMN data_key",
    "DROP TABLE data_key",
    "DROP TABLE audit_head",
    "DROP TABLE integrity_fault",
    "DROP TABLE integrity_run",
    *(
        f"ALTER TABLE access_key DROP COLUMN {name}"
        for name in ("last_used_at", "last_used_from", "disabled_at", "updated_at", "replaced_by")
    ),
    "ALTER TABLE role DROP COLUMN emergency",
    "ALTER TABLE role DROP COLUMN max_session_seconds",
)

# What 0011 and later ones do, undone: claims in the rows of jobs and chunks, as whoever was killed left them.
BACK = (
    *BACK_TO_0017,
    "ALTER TABLE chunk ADD COLUMN state TEXT NOT NULL DEFAULT 'ready'",
    "ALTER TABLE chunk ADD COLUMN claim TEXT",
    "ALTER TABLE chunk ADD COLUMN claimed_until BIGINT",
    "ALTER TABLE import_job ADD COLUMN claim TEXT",
    "ALTER TABLE import_job ADD COLUMN claimed_until BIGINT",
    "UPDATE chunk SET state = (SELECT u.state FROM unit u"
    " WHERE u.job = chunk.job AND u.phase = 'read' AND u.number = chunk.number)",
    "UPDATE chunk SET claim = 'dead:1', claimed_until = 99999999999999 WHERE state = 'claimed'",
    "UPDATE import_job SET claim = 'dead', claimed_until = 99999999999999 WHERE phase IN ('list', 'commit')",
    "UPDATE import_job SET read = read + coalesce((SELECT sum(u.files) FROM unit u"
    " WHERE u.job = import_job.key AND u.state = 'done' AND import_job.phase = 'read'), 0)",
    "CREATE INDEX chunk_by_state ON chunk (state, job, number)",
    "DROP TABLE unit",
    "ALTER TABLE import_job DROP COLUMN priority",
    "DROP INDEX session_by_person",
    "DROP INDEX session_by_parent",
    "DROP INDEX session_by_end",
    "ALTER TABLE access_key DROP COLUMN taken_by",
    "ALTER TABLE import_job DROP COLUMN owner",
    "DROP INDEX study_by_moment",
    "DROP INDEX study_by_name",
    "DROP TABLE uploaded_file",
    "DROP TABLE upload",
    "ALTER TABLE access_key DROP COLUMN subject",
    "ALTER TABLE access_key DROP COLUMN provider",
    "ALTER TABLE access_key DROP COLUMN parent",
    "ALTER TABLE version DROP COLUMN copied_from",
    "ALTER TABLE version DROP COLUMN reverted_to",
    "ALTER TABLE version DROP COLUMN mark",
    "UPDATE alembic_version SET version_num = '0010'",
)


@pytest.fixture
def server(tmp_path: Path, database_url: str) -> Iterator[Importing]:
    made = importing(tmp_path / "data", database_url)
    yield made
    made.close()


@pytest.mark.plain  # the older schema has nothing to keep keys in
def test_jobs_under_way_go_on(server: Importing) -> None:
    """One that lacks its report, one that was read, one of which a chunk is being read, and a new one."""
    jobs: list[Job] = []
    engines = [server.engine() for _ in range(4)]
    for number, phase in enumerate((JobPhase.REPORT, JobPhase.COMMIT, JobPhase.READ, JobPhase.LIST)):
        write_series(server.input / phase, 12, study=str(number))
        job = server.start(f"{phase}/")
        jobs.append(job)
        engine = engines[number]
        engine._run_phases = lambda phases: None  # type: ignore[method-assign]
        if phase == JobPhase.LIST:
            continue
        engine._phases.work(taken(engine, JobPhase.LIST))
        if phase == JobPhase.READ:
            assert engine._leases.take() is not None
            continue
        engine.run(lambda id=job.id: server.job(id).phase == JobPhase.COMMIT)  # type: ignore[misc]
        if phase == JobPhase.REPORT:
            engine._phases.work(taken(engine, JobPhase.COMMIT))
    assert [server.job(job.id).phase for job in jobs] == ["report", "commit", "read", "list"]

    def undo(conn: Connection) -> None:
        for statement in BACK:
            conn.execute(text(statement))

    server.stores.db.write(undo)
    assert migrate(server.stores.db)
    server.work()
    for job in jobs:
        report = server.report(job.id)
        assert report.manifest["numberOfImportedFiles"] == 12 and not report.failure
        assert report.job.read == 12
    invariants.check(server.stores)
