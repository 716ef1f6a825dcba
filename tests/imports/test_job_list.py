"""How long jobs stay in the list (devguide/understanding-import-jobs)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import text

from lightwell.clock import Clock
from lightwell.operations import import_jobs
from lightwell.wire import shapes
from tests.support.imports import Importing

DAY = 24 * 3600 * 1000


class At(Clock):
    """A clock that stands still."""

    def __init__(self, now: int) -> None:
        self._now = now

    def now(self) -> int:
        return self._now


def listed(server: Importing, **asked: Any) -> list[str]:
    """The ids of all pages."""
    found: list[str] = []
    token: str | None = None
    while True:
        answer = import_jobs.list_dicom_import_jobs(
            server.context,
            shapes.ListDICOMImportJobsRequest(datastore_id=server.datastore, next_token=token, **asked),
        )
        found += [job.job_id for job in answer.job_summaries]
        token = answer.next_token
        if token is None:
            return found


def test_leaves_jobs_in_the_list_for_90_days_and_answers_for_them_after(server: Importing) -> None:
    context = server.context
    now = context.clock.now()
    ids = []
    for age in (91, 90, 89, 0):
        server.context = replace(context, clock=At(now - age * DAY))
        ids.append(server.start().id)
    server.context = replace(context, clock=At(now))
    assert listed(server) == ids[:0:-1]
    assert listed(server, job_status="SUBMITTED", max_results=2) == ids[:0:-1]
    assert listed(server, job_status="COMPLETED") == []
    for id in ids:
        shown = import_jobs.get_dicom_import_job(
            server.context, shapes.GetDICOMImportJobRequest(datastore_id=server.datastore, job_id=id)
        )
        assert shown.job_properties.job_id == id


def test_finds_the_jobs_of_a_list_by_an_index(sqlite: Importing) -> None:
    plan = (
        "EXPLAIN QUERY PLAN SELECT key FROM import_job WHERE datastore = 1 AND submitted_at >= 1{}"
        " ORDER BY submitted_at DESC, key DESC LIMIT 50"
    )
    with sqlite.stores.db.read() as conn:
        for filter, index in (("", "job_by_store"), (" AND status = 'FAILED'", "job_by_status")):
            steps = [row.detail for row in conn.execute(text(plan.format(filter)))]
            assert len(steps) == 1 and f"SEARCH import_job USING COVERING INDEX {index}" in steps[0]
