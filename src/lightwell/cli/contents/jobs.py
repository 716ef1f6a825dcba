"""``lightwell jobs list|show|cancel``: import jobs, with the server up or down."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from lightwell.cli import command_trail, flags
from lightwell.cli.contents import named_store
from lightwell.cli.store_session import local_context, store_session
from lightwell.cli.wording import counted, moment, print_array, print_table, printable
from lightwell.domain.states import JobStatus
from lightwell.errors import ConflictError, LightwellError
from lightwell.stores.jobs import import_jobs, outcomes

if TYPE_CHECKING:
    from lightwell.domain.datastore import DataStore
    from lightwell.domain.imports.jobs import Job
    from lightwell.operations.context import Context

_PAGE = 100


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list the import jobs, newest first", allow_abbrev=False)
    listing.add_argument("--datastore", metavar="NAME", help="name or ID of the data store [default: all]")
    listing.add_argument("--running", action="store_true", help="only those that have not ended")
    listing.add_argument("--limit", metavar="N", type=flags.count, help="at most so many [default: all]")
    listing.add_argument("--json", action="store_true", help="print a JSON array")
    show = actions.add_parser("show", help="show a job and what became of its files", allow_abbrev=False)
    show.add_argument("id", metavar="ID", help="job ID")
    cancel = actions.add_parser(
        "cancel", help="stop jobs that have not ended: they become FAILED", allow_abbrev=False
    )
    cancel.add_argument("ids", metavar="ID", nargs="+", help="job ID")
    show.add_argument("--json", action="store_true", help="print one JSON object")
    cancel.add_argument("--json", action="store_true", help="print a JSON array of what was cancelled")
    for action in (listing, show, cancel):
        flags.add(action, flags.PLACES)


def run(args: argparse.Namespace) -> int:
    settings = flags.settings(args)
    with store_session(settings) as stores:
        ctx = local_context(settings, stores)
        if args.action == "list":
            return _list(ctx, args)
        if args.action == "show":
            return _show(ctx, args.id, as_json=args.json)
        return _cancel(ctx, args.ids, as_json=args.json)


@dataclass(frozen=True, slots=True)
class _ListedJob:
    store: DataStore
    job: Job


def _list(ctx: Context, args: argparse.Namespace) -> int:
    found = islice(_pages(ctx, named_store.chosen(ctx, args.datastore), is_running=args.running), args.limit)
    if args.json:
        print_array(_as_json(each.store.id, each.job) for each in found)
        return 0
    print_table(
        ("JOB", "STATUS", "DATA STORE", "SUBMITTED", "ENDED", "FILES", "READ", "NAME", "MESSAGE"),
        (
            (
                each.job.id,
                each.job.status,
                each.store.name,
                moment(each.job.submitted_at),
                None if each.job.ended_at is None else moment(each.job.ended_at),
                each.job.scanned,
                each.job.read,
                each.job.name,
                each.job.message,
            )
            for each in found
        ),
        nothing="No import job is running" if args.running else "There are no import jobs",
    )
    return 0


def _pages(ctx: Context, stores: Sequence[DataStore], *, is_running: bool) -> Iterator[_ListedJob]:
    statuses = (JobStatus.IN_PROGRESS, JobStatus.SUBMITTED) if is_running else (None,)
    for store in stores:
        for status in statuses:
            after = None
            while True:
                with ctx.stores.db.read() as conn:
                    page = import_jobs.page(conn, store.key, status, _PAGE, after)
                    page = import_jobs.with_progress(conn, page)
                yield from (_ListedJob(store, job) for job in page)
                if len(page) < _PAGE:
                    break
                after = page[-1].submitted_at, page[-1].key


def _as_json(store_id: str, job: Job) -> dict[str, object]:
    return {
        "jobId": job.id,
        "jobName": job.name,
        "jobStatus": job.status,
        "datastoreId": store_id,
        "phase": job.phase,
        "submittedAt": moment(job.submitted_at),
        "endedAt": None if job.ended_at is None else moment(job.ended_at),
        "inputS3Uri": job.input_uri,
        "outputS3Uri": job.output_uri,
        "numberOfScannedFiles": job.scanned,
        "numberOfReadFiles": job.read,
        "message": job.message,
    }


def _find(ctx: Context, id: str) -> Job:
    with ctx.stores.db.read() as conn:
        job = import_jobs.find_anywhere(conn, id)
        if job is not None:
            (job,) = import_jobs.with_progress(conn, [job])
            command_trail.goes_to(ctx.settings, import_jobs.datastore_of(conn, job.key)[0], job=job.id)
    if job is None:
        raise LightwellError(f"There is no import job {id}; `lightwell jobs list` shows those that exist")
    return job


def _show(ctx: Context, id: str, *, as_json: bool) -> int:
    job = _find(ctx, id)
    with ctx.stores.db.read() as conn:
        store_id, _ = import_jobs.datastore_of(conn, job.key)
        tally = outcomes.tally(conn, job.key)
    counts: dict[str, int | None] = {
        "numberOfImportedFiles": tally.imported,
        "numberOfFilesAlreadyThere": tally.already_there,
        "numberOfFilesNotDicom": tally.not_dicom,
        "numberOfFilesWithCustomerError": tally.customer,
        "numberOfFilesWithServerError": tally.server,
        "numberOfImageSets": len(tally.image_sets),
    }
    if is_pruned := _is_pruned(ctx, job, tally.files):
        counts = dict.fromkeys(counts)
    shown = _as_json(store_id, job) | counts
    reasons = [
        {"reason": cause.reason, "files": cause.files, "example": cause.example} for cause in tally.failures
    ]
    if as_json:
        print(json.dumps({**shown, "reasons": reasons}, indent=2, ensure_ascii=False))
        return 0
    for name, value in shown.items():
        if value is not None:
            print(f"{name:<30}  {printable(f'{value:,}' if isinstance(value, int) else str(value))}")
    if is_pruned:
        print("\nThe database no longer knows what became of each file: the report in outputS3Uri does.")
    if reasons:
        print()
        print_table(
            ("FILES", "REASON", "EXAMPLE"),
            [(r["files"], r["reason"], r["example"]) for r in reasons],
            nothing="",
        )
    return 0


def _is_pruned(ctx: Context, job: Job, outcomes_left: int) -> bool:
    """Whether the outcomes of a job were removed since it ended, as ``keep_outcomes`` says."""
    keep = ctx.settings.keep_outcomes * 1000
    ended = job.ended_at if job.scanned and not outcomes_left else None
    return bool(keep) and ended is not None and ended < ctx.clock.now() - keep


def _cancel(ctx: Context, ids: Sequence[str], *, as_json: bool) -> int:
    from lightwell.operations.import_jobs import cancel_import_job

    cancelled: list[dict[str, object]] = []
    failed = 0
    for id in dict.fromkeys(ids):
        try:
            job = cancel_import_job(ctx, _find(ctx, id))
        except ConflictError as error:
            failed += 1
            print(f"lightwell: {error}", file=sys.stderr)
            continue
        with ctx.stores.db.read() as conn:
            store_id, _ = import_jobs.datastore_of(conn, job.key)
        cancelled.append(_as_json(store_id, job))
        if not as_json:
            print(f"job {job.id}: {job.message}")
    if as_json:
        print_array(cancelled)
    elif len(cancelled) > 1:
        print(f"{counted(len(cancelled), 'job')} cancelled")
    return 1 if failed else 0
