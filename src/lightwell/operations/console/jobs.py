"""Import jobs as a person follows them: how far one is, what went wrong in it, its report.

What HealthImaging's own operations tell of a job is in `operations.import_jobs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal

from lightwell.domain import page_tokens
from lightwell.domain.imports import manifests
from lightwell.domain.imports.jobs import Job, split_uri
from lightwell.domain.imports.manifests import PLAIN, OutcomeCounts
from lightwell.domain.states import JobPhase, JobStatus
from lightwell.errors import ConflictError, InputError, NotFoundError, UnavailableError
from lightwell.operations.import_jobs import cancel_import_job
from lightwell.stores.account import datastores
from lightwell.stores.data_folder.node import NOBODY
from lightwell.stores.jobs import import_jobs, outcomes, staging

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.operations.context import Context
    from lightwell.stores.jobs.outcomes import OutcomeCause

Part = Literal["manifest", "success", "failure", "warning"]
PARTS: dict[Part, str] = {
    "manifest": manifests.MANIFEST,
    "success": manifests.SUCCESS,
    "failure": manifests.FAILURE,
    "warning": manifests.WARNING,
}
# Outcomes that a page of the list may count, and that the reasons of a job are taken from; the image sets of
# which the studies are named.
_MOST_COUNTED, _MOST_REASONED, _MOST_SETS = 200_000, 100_000, 1000
_IN_MEMORY = 1 << 20


@dataclass(frozen=True, slots=True)
class Progress:
    """A job, and how many of its files had which outcome so far; None where there are too many to count.

    ``not_dicom`` of them, counted as failed, show no sign of DICOM. ``is_pruned``: the job ended so long ago
    that only its report knows.
    """

    job: Job
    counts: OutcomeCounts | None
    not_dicom: int = 0
    is_pruned: bool = False

    @property
    def failed(self) -> int | None:
        """How many DICOM files were not imported."""
        return None if self.counts is None else self.counts.customer + self.counts.server - self.not_dicom


@dataclass(frozen=True, slots=True)
class Reason:
    """Why files were not imported, or a warning; how many files, and the name of one, below the input."""

    text: str
    files: int
    example: str


@dataclass(frozen=True, slots=True)
class Reasons:
    """``is_partial``: there are more files with reasons than were looked at."""

    failures: list[Reason]
    warnings: list[Reason]
    already_there: int
    not_dicom: int
    not_dicom_names: list[str]
    study_uids: list[str]
    is_partial: bool


def jobs_page(
    ctx: Context, datastore_id: str, *, limit: int, next_token: str | None, is_running: bool
) -> tuple[list[Progress], str | None]:
    """The jobs of a data store, newest first, and the token of the next page."""
    after = page_tokens.after(next_token)
    with ctx.stores.db.read() as conn:
        store = datastores.get(conn, datastore_id)
        if store is None:
            raise NotFoundError(f"Datastore {datastore_id} does not exist.")
        if is_running:
            statuses = (JobStatus.IN_PROGRESS, JobStatus.SUBMITTED)
            pages = [import_jobs.page(conn, store.key, each, limit + 1, after) for each in statuses]
            found = sorted((job for page in pages for job in page), key=_newest_first)[: limit + 1]
        else:
            found = import_jobs.page(conn, store.key, None, limit + 1, after)
        shown = import_jobs.with_progress(conn, found[:limit])
        left, listed = _MOST_COUNTED, []
        for job in shown:
            left -= job.scanned
            listed.append(_progress(ctx, conn, job) if left >= 0 else Progress(job, None))
    token = page_tokens.encode([shown[-1].submitted_at, shown[-1].key]) if len(found) > limit else None
    return listed, token


def progress(ctx: Context, datastore_id: str, job_id: str) -> Progress:
    """How far a job is. Raises `NotFoundError`."""
    with ctx.stores.db.read() as conn:
        (job,) = import_jobs.with_progress(conn, [_find(conn, datastore_id, job_id)])
        return _progress(ctx, conn, job)


def reasons(ctx: Context, job: Job) -> Reasons:
    """What went wrong in a job so far, grouped by cause."""
    with ctx.stores.db.read() as conn:
        tally, is_whole = outcomes.causes(conn, job.key, _MOST_REASONED)
        studies = outcomes.study_uids(conn, job.key, _MOST_SETS)
    folder = split_uri(job.input_uri)[1] if job.source is None else ""
    return Reasons(
        failures=_reasons(tally.failures, folder),
        warnings=_reasons(tally.warnings, folder),
        already_there=tally.already_there,
        not_dicom=tally.not_dicom,
        not_dicom_names=[name.removeprefix(folder) for name in tally.not_dicom_names[:100]],
        study_uids=studies,
        is_partial=not is_whole,
    )


def cancel(ctx: Context, datastore_id: str, job_id: str) -> Progress:
    """Stop a job; see `cancel_import_job`. Raises `ConflictError` if it has ended."""
    with ctx.stores.db.read() as conn:
        job = _find(conn, datastore_id, job_id)
    cancel_import_job(ctx, job)
    return progress(ctx, datastore_id, job_id)


def report_key(job: Job, part: Part) -> str:
    """``BUCKET/KEY`` of a file of the job's report."""
    bucket, folder = split_uri(job.output_uri)
    return f"{bucket}/{folder}{PARTS[part]}"


def report(ctx: Context, job: Job, part: Part) -> bytes | BinaryIO:
    """A file of the job's report. If it is open, the caller closes it, and nothing else remains of it here.

    Raises `NotFoundError` for a job that has none, `ConflictError` if it is in a folder of another server.
    """
    if job.phase != JobPhase.DONE or job.status != JobStatus.COMPLETED:
        raise NotFoundError(
            f"Import job {job.id} has no report: one is written when a job is COMPLETED. "
            f"It is {job.status}{f': {job.message}' if job.message else ''}."
        )
    if job.output_node not in (None, NOBODY, ctx.stores.node_id):
        raise ConflictError(
            f"The report is in a folder of another server: {job.output_uri}. Look for it there."
        )
    bucket, _, key = report_key(job, part).partition("/")
    buckets = ctx.stores.output_buckets(job)
    try:
        found = buckets.fetch(bucket, key, memory_limit=_IN_MEMORY, spool_dir=ctx.stores.spool)
        if isinstance(found, bytes):
            return found
        file = found.open("rb")
        if found.is_relative_to(ctx.stores.spool):
            # Already now, whatever becomes of who asked for it.
            found.unlink()
        return file
    except InputError as error:
        raise NotFoundError(f"The report cannot be read any more: {error}.") from error
    except OSError as error:
        raise UnavailableError(f"The report cannot be read: {error.strerror}.") from error


def _newest_first(job: Job) -> tuple[int, int]:
    return -job.submitted_at, -job.key


def _find(conn: Connection, datastore_id: str, job_id: str) -> Job:
    store = datastores.get(conn, datastore_id)
    job = None if store is None else import_jobs.find(conn, store.key, job_id)
    if job is None:
        raise NotFoundError(f"Import job {job_id} does not exist in datastore {datastore_id}.")
    return job


def _progress(ctx: Context, conn: Connection, job: Job) -> Progress:
    counts = staging.counts(conn, job.key)
    keep = ctx.settings.keep_outcomes * 1000
    is_old = bool(keep) and job.ended_at is not None and job.ended_at < ctx.clock.now() - keep
    if is_old and job.scanned and not counts.total:
        return Progress(job, None, is_pruned=True)
    return Progress(job, counts, outcomes.not_dicom(conn, job.key) if counts.customer else 0)


def _reasons(causes: list[OutcomeCause], folder: str) -> list[Reason]:
    return [
        Reason(PLAIN.get(each.reason, each.reason), each.files, each.example.removeprefix(folder))
        for each in causes[:100]
    ]
