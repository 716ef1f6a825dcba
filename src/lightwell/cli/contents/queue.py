"""``lightwell queue list|claims|dead|retry|forget|priority``: units of work, who has them."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from itertools import islice
from typing import TYPE_CHECKING

from lightwell.cli import command_trail, flags
from lightwell.cli.store_session import local_context, store_session
from lightwell.cli.wording import counted, duration, nobody_works, print_array, print_table
from lightwell.domain.events import import_job_event
from lightwell.domain.imports.jobs import output_folder
from lightwell.domain.states import JobPhase, JobStatus, UnitState
from lightwell.errors import ConflictError, LightwellError
from lightwell.stores.background import outbox, servers
from lightwell.stores.jobs import chunks, dead_units, import_jobs, queue_view, transitions, units

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from lightwell.domain.imports.jobs import InputFile, Job
    from lightwell.operations.context import Context

_FILES = 64  # a chunk
_PRIORITIES = {"low": -1, "normal": 0, "high": 1}


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    made = {
        name: actions.add_parser(name, help=text, allow_abbrev=False)
        for name, text in (
            ("list", "how many units of work wait, are under way or were given up, by job and phase"),
            ("claims", "which units are under way, who has them, and since when"),
            ("dead", "which units were given up, and why"),
            ("retry", "import the files of a job again whose units were given up: as a new job"),
            ("forget", "drop the units of a job that were given up"),
            ("priority", "let a job be worked on before or after all others"),
        )
    }
    for name in ("list", "claims", "dead"):
        made[name].add_argument("--job", metavar="ID", help="of this import job only [default: all]")
    for name in ("retry", "forget", "priority"):
        made[name].add_argument("id", metavar="JOB", help="job ID")
    made["priority"].add_argument("priority", choices=tuple(_PRIORITIES), help="low, normal or high")
    for name, action in made.items():
        if name not in ("forget", "priority"):
            action.add_argument("--json", action="store_true", help="print JSON")
        flags.add(action, flags.PLACES)


def run(args: argparse.Namespace) -> int:
    settings = flags.settings(args)
    actions: dict[str, Callable[[Context, argparse.Namespace], int]] = {
        "list": _list,
        "claims": _claims,
        "dead": _dead,
        "retry": _retry,
        "forget": _forget,
        "priority": _priority,
    }
    with store_session(settings) as stores:
        return actions[args.action](local_context(settings, stores), args)


def _list(ctx: Context, args: argparse.Namespace) -> int:
    with ctx.stores.db.read() as conn:
        found = queue_view.summary(conn, job=args.job)
        is_shared = conn.dialect.name != "sqlite"
        if is_shared and (jobs := servers.workforce(conn)).jobs and not jobs.working:
            print(f"lightwell: {nobody_works(jobs.jobs)}", file=sys.stderr)
    if args.json:
        print_array(asdict(each) for each in found)
        return 0
    print_table(
        ("JOB", "DATA STORE", "PRIORITY", "PHASE", "STATE", "UNITS", "FILES", "DELAYED", "AGAIN", "OLDEST"),
        (
            (
                each.job, each.datastore, each.priority, each.phase, each.state, each.units, each.files,
                each.delayed, each.again, duration(each.oldest_ms / 1000),
            )
            for each in found
        ),
        nothing="Nothing waits, and nothing is under way",
    )  # fmt: skip
    return 0


def _claims(ctx: Context, args: argparse.Namespace) -> int:
    with ctx.stores.db.read() as conn:
        found = queue_view.of_state(conn, UnitState.CLAIMED, job=args.job)
    if args.json:
        print_array(asdict(each) for each in found)
        return 0
    print_table(
        ("JOB", "PHASE", "UNIT", "FILES", "TRIES", "WHO", "FOR"),
        (
            (
                each.job, each.phase, each.number, each.files, each.tries,
                (each.who or "").rpartition(":")[0], duration((each.held_ms or 0) / 1000),
            )
            for each in found
        ),
        nothing="Nothing is under way",
    )  # fmt: skip
    return 0


def _dead(ctx: Context, args: argparse.Namespace) -> int:
    with ctx.stores.db.read() as conn:
        found = queue_view.of_state(conn, UnitState.DEAD, job=args.job)
    if args.json:
        print_array(asdict(each) for each in found)
        return 0
    print_table(
        ("JOB", "PHASE", "UNIT", "FILES", "TRIES", "REASON"),
        ((each.job, each.phase, each.number, each.files, each.tries, each.note) for each in found),
        nothing="No unit of work was given up",
    )
    return 0


def _find(ctx: Context, id: str) -> Job:
    with ctx.stores.db.read() as conn:
        job = import_jobs.find_anywhere(conn, id)
        if job is not None:
            command_trail.goes_to(ctx.settings, import_jobs.datastore_of(conn, job.key)[0], job=job.id)
    if job is None:
        raise LightwellError(f"There is no import job {id}; `lightwell jobs list` shows those that exist")
    return job


def _retry(ctx: Context, args: argparse.Namespace) -> int:
    job = _find(ctx, args.id)
    made = retry(ctx, job)
    if args.json:
        print(json.dumps({"jobId": made.id, "numberOfFiles": made.scanned or None}))
    else:
        what = counted(made.scanned, "file") if made.scanned else "all files"
        print(f"job {made.id} imports {what} of job {job.id} again")
    return 0


def retry(ctx: Context, job: Job) -> Job:
    """A new job for what was given up of one that has ended: its files, or all if it was not listed or
    reported.

    Raises `ConflictError` if it has not ended, or if nothing was given up.
    """
    if job.phase != JobPhase.DONE:
        raise ConflictError(f"Import job {job.id} has not ended yet.")
    now, id, key, event_ids = ctx.clock.now(), ctx.ids.id(), ctx.ids.key(), (ctx.ids.id(), ctx.ids.id())

    def work(conn: Connection) -> Job:
        given_up = dead_units.phases(conn, job.key)
        if not given_up:
            raise ConflictError(f"No unit of import job {job.id} was given up, so there is nothing to retry.")
        is_whole = bool(given_up & {JobPhase.LIST, JobPhase.REPORT})
        found = [] if is_whole else dead_units.renumbered(dead_units.files(conn, job.key))
        if not is_whole and not found:
            raise ConflictError(f"Which files of import job {job.id} were given up is not known any more.")
        datastore_id, _ = import_jobs.datastore_of(conn, job.key)
        base = job.output_uri.rstrip("/").rpartition("/")[0]
        made = replace(
            import_jobs.opened(conn, job),  # it is sealed for the row of its own job
            key=key,
            id=id,
            status=JobStatus.SUBMITTED if is_whole else JobStatus.IN_PROGRESS,
            phase=JobPhase.LIST if is_whole else JobPhase.READ,
            message=None,
            output_uri=output_folder(base, datastore_id, id),
            submitted_at=now,
            ended_at=None,
            scanned=len(found),
            read=0,
        )
        import_jobs.add(conn, made)
        if is_whole:
            units.add(conn, transitions.queued(made, JobPhase.LIST), [units.NewUnit(0)], ctx.stores.enqueue)
        else:
            _add_chunks(ctx, conn, made, found)
        dead_units.forget(conn, job.key)
        events = ("Import Job Submitted", "Import Job In Progress")
        for name, event_id in zip(events[: 1 if is_whole else 2], event_ids, strict=False):
            header = ctx.event_header(event_id, now, datastore_id)
            outbox.append(
                conn,
                import_job_event(
                    name,  # type: ignore[arg-type]
                    header,
                    job_id=id,
                    job_name=made.name,
                    job_status=JobStatus.SUBMITTED if "Submitted" in name else JobStatus.IN_PROGRESS,
                    input_uri=made.input_uri,
                    output_uri=made.output_uri,
                ),
            )
        return made

    made = ctx.stores.db.write(work)
    ctx.stores.wake_engine()
    return made


def _add_chunks(ctx: Context, conn: Connection, job: Job, found: list[InputFile]) -> None:
    files = iter(found)
    runs = list(iter(lambda: list(islice(files, _FILES)), []))
    rows = [(number, run[0].number, len(run), chunks.compress_files(run)) for number, run in enumerate(runs)]
    chunks.add(conn, transitions.queued(job, JobPhase.READ), rows, ctx.stores.enqueue)


def _forget(ctx: Context, args: argparse.Namespace) -> int:
    job = _find(ctx, args.id)
    if job.phase != JobPhase.DONE:
        raise ConflictError(f"Import job {job.id} has not ended yet.")
    gone = ctx.stores.db.write(lambda conn: dead_units.forget(conn, job.key))
    print(f"job {job.id}: {counted(gone, 'unit')} forgotten")
    return 0


def _priority(ctx: Context, args: argparse.Namespace) -> int:
    job = _find(ctx, args.id)
    ctx.stores.db.write(lambda conn: import_jobs.set_priority(conn, job.key, _PRIORITIES[args.priority]))
    ctx.stores.wake_engine()
    if job.phase == JobPhase.DONE:
        print(f"lightwell: job {job.id} has ended: this changes nothing", file=sys.stderr)
        return 1
    print(f"job {job.id}: priority {args.priority}")
    return 0
