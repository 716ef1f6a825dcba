"""``lightwell import``: files, folders, zip files, DICOMDIRs or ``s3://`` URIs as an import job.

Works with the server up or down: the process that holds the data folder's engine lock does the work.
``--check`` runs the whole import in a temporary data folder, so it reports exactly what would happen.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace

from lightwell.auth.data_access_role import DataAccessRoles, open_data_access_roles
from lightwell.cli import flags
from lightwell.cli.authorizer_arn import HELP, METAVAR, authorizer_arn
from lightwell.cli.contents import s3_sources
from lightwell.cli.contents.import_summary import ImportSummary
from lightwell.cli.contents.interruption import Interrupted, Interruption, interruptible
from lightwell.cli.contents.named_store import find_or_create
from lightwell.cli.contents.waiting import Waiting, what_is_away
from lightwell.cli.progress import Progress
from lightwell.cli.store_session import local_context, make_data_folder, store_session
from lightwell.domain.imports.jobs import Job
from lightwell.domain.states import JobPhase
from lightwell.errors import ConfigurationError, LightwellError
from lightwell.operations.context import Context
from lightwell.settings import Settings
from lightwell.stores.data_folder.check_folders import check_folder
from lightwell.stores.jobs import import_jobs, outcomes

_POLL_SECONDS = 0.2
# Of the audit trail: where it is on record what this process does.
_WRITER = "import"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="file, folder, zip file, DICOMDIR or s3://… URI"
    )
    parser.add_argument(
        "--datastore",
        default="default",
        help="name or ID of the data store; created if missing [default: default]",
    )
    parser.add_argument(
        "--authorizer",
        metavar=METAVAR,
        help=f"{HELP}; only for a data store that this import creates [default: none]",
    )
    parser.add_argument("--name", help="name of the import job")
    parser.add_argument(
        "--check", action="store_true", help="dry run: report what would be imported and what would not"
    )
    parser.add_argument(
        "--strict", action="store_true", help="files that are not DICOM make the exit code 1, too"
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    flags.add(
        parser,
        (*flags.PLACES, "buckets_dir", "s3_endpoint_url", "codec_workers", "worker_memory", "file_timeout"),
    )


def run(args: argparse.Namespace) -> int:
    from lightwell.operations.import_jobs import absolute_sources

    settings = flags.settings(args)
    absolute_sources(args.paths)  # a path that does not exist must not leave an empty data store behind
    if not args.check:
        return _import(args, settings)
    make_data_folder(settings)
    with check_folder(settings.data) as folder:
        temporary = replace(
            settings,
            data=folder,
            database_url=None,
            storage_url=None,
            engine="auto",
            buckets_dir=settings.buckets if settings.buckets.exists() else None,
        )
        return _import(args, temporary)


def _import(args: argparse.Namespace, settings: Settings) -> int:
    from lightwell.operations.import_jobs import submit_local
    from lightwell.stores.background.installation import agree_on_storage
    from lightwell.stores.background.servers import Server
    from lightwell.work.engine_lock import EngineLock

    authorizer = None if args.authorizer is None else authorizer_arn(settings, args.authorizer)
    with store_session(settings, create=True) as stores:
        ctx = local_context(settings, stores)
        one = None if stores.node_id is None else Server(stores.node_id, "", "")
        agree_on_storage(stores.db, stores.objects, ctx.ids.id(), one)
        if EngineLock(settings.data).holder() is None:
            s3_sources.check(settings, stores, args.paths)
        store = find_or_create(ctx, args.datastore, authorizer=authorizer)
        if args.authorizer is not None and store.lambda_authorizer_arn != authorizer:
            raise ConfigurationError(
                f"Data store {args.datastore} exists already and has another authorizer: change it with "
                f"`lightwell datastore set-authorizer {args.datastore} {args.authorizer}`, or leave out "
                "--authorizer"
            )
        with interruptible() as interruption:
            job = submit_local(ctx, store.id, args.paths, name=args.name)
            ctx.note.job = job.id
            try:
                finished = _watch(ctx, job, interruption, args)
            except Interrupted as stopped:
                print(f"lightwell: {stopped}", file=sys.stderr)
                return interruption.exit_code
        with stores.db.read() as conn:
            tally = outcomes.tally(conn, job.key)
    summary = ImportSummary(
        store=store,
        job=finished,
        tally=tally,
        report=settings.buckets.absolute() / finished.output_uri.removeprefix("s3://"),
        check=args.check,
    )
    print(json.dumps(summary.as_json(), indent=2) if args.json else summary.as_text())
    return interruption.exit_code if interruption.is_set else summary.exit_code(strict=args.strict)


def _watch(ctx: Context, job: Job, interruption: Interruption, args: argparse.Namespace) -> Job:
    """Wait until the job is done, and work on it ourselves whenever no server does.

    Raises `Interrupted`.
    """
    from lightwell.cli.trails.process_trail import process_trail
    from lightwell.cli.trails.start_record import record_start
    from lightwell.work.engine import Engine, EngineOptions
    from lightwell.work.engine_lock import EngineLock

    lock = EngineLock(ctx.settings.data)
    with Progress("read", "imported", quiet=args.json or not sys.stderr.isatty()) as bars:

        def look() -> tuple[Job, int]:
            with ctx.stores.db.read() as conn:
                now = import_jobs.get(conn, job.key)
                if now is not None:
                    (now,) = import_jobs.with_progress(conn, [now])
                counted = outcomes.count(conn, job.key)
            if now is None:
                raise LightwellError(f"Import job {job.id} has disappeared from the database")
            total = now.scanned if now.phase != JobPhase.LIST else None
            bars.show("read", now.read, total)
            bars.show("imported", counted, total)  # finished, whether imported or not
            return now, counted

        def is_over() -> bool:
            if interruption.is_set:
                # Here, so that the engine works on while the question waits for its answer.
                interruption.decide(ctx, job, is_check=args.check, pause=bars.pause)
                return True
            return look()[0].phase == JobPhase.DONE

        waiting, is_told = Waiting(bars.say, lambda: what_is_away(ctx)), False
        while True:
            if not (is_ours := lock.take()) and not is_told:
                is_told = True
                print(f"lightwell: {_who_works(ctx.settings, lock.holder())}", file=sys.stderr)
            if is_ours:
                try:
                    on_sqlite = ctx.stores.db.dialect == "sqlite"
                    # Whoever has the lock is the only one who writes this chain.
                    with process_trail(ctx.settings, _WRITER, None) as trail:
                        record_start(ctx.settings, trail)
                        engine = Engine(
                            ctx.stores,
                            ctx.settings,
                            ctx.clock,
                            ctx.ids,
                            options=EngineOptions(
                                alone=on_sqlite,
                                delivers=on_sqlite,
                                pool_linger=0.0,
                                data_access=_data_access_roles(ctx),
                                trail=trail,
                                tell=lambda text: bars.say(f"lightwell: {text}"),
                            ),
                        )
                        engine.run(is_over)
                finally:
                    lock.release()
            now, finished = look()
            if now.phase == JobPhase.DONE:
                return now
            waiting.look(now, finished)
            if interruption.wait(_POLL_SECONDS):
                is_over()


def _who_works(settings: Settings, holder: int | None) -> str:
    """A sentence about the process that holds the engine lock and so does the work."""
    from lightwell.cli.running_server import find

    if (server := find(settings)) and server.works:
        return f"{server} does the work"
    name = (
        "another process" if holder is None else f"process {holder}, a worker or another `lightwell import`,"
    )
    return f"{name} has the data folder and does the work; this one continues if that one ends"


def _data_access_roles(ctx: Context) -> DataAccessRoles:
    """For other users' jobs that are waiting in the database."""
    settings = ctx.settings
    return open_data_access_roles(
        ctx.stores.db, settings.region, settings.account_id, settings.s3_endpoint_url
    )
