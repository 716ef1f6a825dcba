"""``lightwell import``: files, folders, zip files, DICOMDIRs or ``s3://`` URIs as an import job.

Works with the server up or down: the process that holds the data folder's engine lock does the work.
``--check`` runs the whole import in a temporary data folder, so it reports exactly what would happen.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from lightwell.auth.data_access_role import DataAccessRoles, open_data_access_roles
from lightwell.cli import flags
from lightwell.cli.contents.named_store import find_or_create
from lightwell.cli.progress import Progress
from lightwell.cli.store_session import local_context, make_data_folder, store_session
from lightwell.cli.wording import counted
from lightwell.domain.datastore import DataStore
from lightwell.domain.imports.jobs import Job
from lightwell.domain.states import JobPhase, JobStatus
from lightwell.errors import InputError, LightwellError
from lightwell.operations.context import Context
from lightwell.settings import Settings
from lightwell.stores.jobs import import_jobs, outcomes
from lightwell.stores.jobs.outcomes import Tally

_POLL_SECONDS = 0.2
_MOST_CAUSES = 20


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="file, folder, zip file, DICOMDIR or s3://… URI"
    )
    parser.add_argument(
        "--datastore",
        default="default",
        help="name or ID of the data store; created if missing [default: default]",
    )
    parser.add_argument("--name", help="name of the import job")
    parser.add_argument(
        "--check", action="store_true", help="dry run: report what would be imported and what would not"
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    flags.add(
        parser,
        (*flags.PLACES, "buckets_dir", "s3_endpoint_url", "codec_workers", "worker_memory", "file_timeout"),
    )


def run(args: argparse.Namespace) -> int:
    settings = flags.settings(args)
    if not args.check:
        return _import(args, settings)
    make_data_folder(settings)
    with tempfile.TemporaryDirectory(prefix="check-", dir=settings.data) as folder:
        temporary = replace(
            settings,
            data=Path(folder),
            database_url=None,
            storage_url=None,
            buckets_dir=settings.buckets if settings.buckets.exists() else None,
        )
        return _import(args, temporary)


def _import(args: argparse.Namespace, settings: Settings) -> int:
    from lightwell.operations.import_jobs import submit_local

    with store_session(settings, create=True) as stores:
        ctx = local_context(settings, stores)
        store = find_or_create(ctx, args.datastore)
        job = submit_local(ctx, store.id, args.paths, name=args.name)
        with _interruptible() as interrupted:
            finished = _watch(ctx, job, interrupted, quiet=args.json or not sys.stderr.isatty())
        with stores.db.read() as conn:
            tally = outcomes.tally(conn, job.key)
    if args.json:
        print(json.dumps(_report(store, finished, tally, check=args.check), indent=2))
    else:
        report = settings.buckets.absolute() / finished.output_uri.removeprefix("s3://")
        _print(store, finished, tally, report, check=args.check)
    done = finished.status == JobStatus.COMPLETED and tally.imported == tally.files
    return 0 if done else 1


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that leases are returned before we exit."""
    event = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        event.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(ctx: Context, job: Job, interrupted: threading.Event, *, quiet: bool) -> Job:
    """Wait until the job is done, and work on it ourselves whenever no server does."""
    from lightwell.work.engine import Engine, EngineOptions
    from lightwell.work.engine_lock import EngineLock

    lock = EngineLock(ctx.settings.data)
    with Progress(quiet=quiet) as bars:

        def look() -> Job:
            with ctx.stores.db.read() as conn:
                now = import_jobs.get(conn, job.key)
                counted = outcomes.count(conn, job.key)
            if now is None:
                raise LightwellError(f"Import job {job.id} has disappeared from the database")
            bars.show(now.scanned, now.read, counted, listed=now.phase != JobPhase.LIST)
            return now

        def is_over() -> bool:
            return interrupted.is_set() or look().phase == JobPhase.DONE

        is_told = False
        while True:
            if not (is_ours := lock.take()) and not is_told:
                is_told = True
                print(f"lightwell: {_who_works(ctx.settings, lock.holder())}", file=sys.stderr)
            if is_ours:
                try:
                    on_sqlite = ctx.stores.db.dialect == "sqlite"
                    engine = Engine(
                        ctx.stores,
                        ctx.settings,
                        ctx.clock,
                        ctx.ids,
                        options=EngineOptions(
                            alone=on_sqlite, pool_linger=0.0, data_access=_data_access_roles(ctx)
                        ),
                    )
                    engine.run(is_over)
                finally:
                    lock.release()
            now = look()
            if now.phase == JobPhase.DONE:
                return now
            if interrupted.wait(_POLL_SECONDS):
                raise InputError(
                    f"Interrupted. Import job {job.id} is kept and continues when `lightwell serve` or "
                    "another import runs on this data folder"
                )


def _who_works(settings: Settings, holder: int | None) -> str:
    """A sentence about the process that holds the engine lock and so does the work."""
    from lightwell.cli.running_server import find

    if server := find(settings):
        return f"{server} does the work"
    name = "another process" if holder is None else f"process {holder}, another `lightwell import`,"
    return f"{name} has the data folder and does the work; this one continues if that one ends"


def _data_access_roles(ctx: Context) -> DataAccessRoles:
    """For other users' jobs that are waiting in the database."""
    settings = ctx.settings
    return open_data_access_roles(
        ctx.stores.db, settings.region, settings.account_id, settings.s3_endpoint_url
    )


def _report(store: DataStore, job: Job, tally: Tally, *, check: bool) -> dict[str, object]:
    return {
        "datastoreId": store.id if not check else None,
        "jobId": job.id if not check else None,
        "jobStatus": job.status,
        "message": job.message,
        "outputS3Uri": job.output_uri if not check else None,
        "numberOfScannedFiles": tally.files,
        "numberOfImportedFiles": tally.imported,
        "numberOfFilesAlreadyThere": tally.already_there,
        "numberOfFilesWithCustomerError": tally.customer,
        "numberOfFilesWithServerError": tally.server,
        "imageSets": tally.image_sets if not check else len(tally.image_sets),
        "reasons": [
            {"reason": cause.reason, "files": cause.files, "example": cause.example}
            for cause in tally.failures
        ],
        "warnings": [
            {"reason": cause.reason, "files": cause.files, "example": cause.example}
            for cause in tally.warnings
        ],
    }


def _print(store: DataStore, job: Job, tally: Tally, report: Path, *, check: bool) -> None:
    verb = "would be imported" if check else "imported"
    sets = counted(len(tally.image_sets), "image set")
    print(f"{tally.imported:,} of {counted(tally.files, 'file')} {verb}, {sets}")
    if tally.already_there:
        were = "was" if tally.already_there == 1 else "were"
        print(f"{tally.already_there:,} of them {were} already stored and not stored again")
    if job.status == JobStatus.FAILED:
        print(f"the job failed: {job.message}")
    _causes("not imported", tally.failures)
    _causes("imported with a warning", tally.warnings)
    if not check:
        print(f"data store {store.id} ({store.name})")
        print(f"job        {job.id}")
        print(f"report     {report}")


def _causes(title: str, causes: list[outcomes.OutcomeCause]) -> None:
    if not causes:
        return
    print(f"{title}:")
    for cause in causes[:_MOST_CAUSES]:
        print(f"  {cause.files:>6}  {cause.reason}")
        print(f"          e.g. {cause.example}")
    if len(causes) > _MOST_CAUSES:
        print(f"  and {counted(len(causes) - _MOST_CAUSES, 'more reason')}; --json lists all")
