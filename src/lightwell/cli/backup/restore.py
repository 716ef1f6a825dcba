"""``lightwell data restore``: a backup back into an empty place."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightwell.cli import command_trail, flags
from lightwell.cli.backup.key_files import keep, unsealed
from lightwell.cli.backup.place import from_future, open_place
from lightwell.cli.progress import Progress
from lightwell.cli.running_server import ServerLock
from lightwell.cli.store_session import check_owner, make_data_folder, on_record
from lightwell.cli.wording import counted, moment, print_array, print_table, printable, size
from lightwell.clock import Clock, Ids
from lightwell.errors import ConfigurationError, LightwellError, StorageError

if TYPE_CHECKING:
    from lightwell.settings import Settings
    from lightwell.stores.backup.runs import Backups, Run
    from lightwell.work.backup.restore import RestoreReport

_MOST_SHOWN = 20


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="what was given to `lightwell data backup` as DEST")
    parser.add_argument("--endpoint-url", metavar="URL", help="S3 endpoint of SRC, if it is not AWS's")
    parser.add_argument("--run", dest="run_id", metavar="ID", help="the run to restore [default: the newest]")
    parser.add_argument("--list", action="store_true", help="list the runs, and restore nothing")
    parser.add_argument(
        "--recovery-key", type=Path, metavar="FILE", help="the file that was given to `lightwell data backup`"
    )
    parser.add_argument(
        "--despite-damage",
        action="store_true",
        help="make the place usable although packs of the run are damaged or missing",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags.add(parser, (*flags.PLACES, "secret_key_file", "encryption_key_file"))


def run(args: argparse.Namespace) -> int:
    from lightwell.stores.backup.runs import Backups, later_than

    settings = flags.settings(args)
    with closing(open_place(args.source, args.endpoint_url, settings)) as place:
        backups = Backups(place)
        if future := later_than(backups.runs(), Clock().now()):
            print(f"lightwell: {from_future(future)}", file=sys.stderr)
        if args.list:
            _list(backups, is_json=args.json)
            return 0
        check_owner(settings)
        if args.recovery_key is not None and (chosen := _chosen(settings, backups, args.run_id)) is not None:
            unsealed(backups, chosen, args.recovery_key)  # says so if it does not fit
        report = _restore(settings, backups, args)
    if args.json:
        print(json.dumps(_as_json(report), indent=2))
    _tell_faults(report)
    if not report.is_usable:
        return 1
    if not args.json:
        _print(settings, report)
    if advice := _try_secret(settings):
        print(f"lightwell: {advice}", file=sys.stderr)
    return 1 if report.lost else 0


def _list(backups: Backups, *, is_json: bool) -> None:
    runs = [backups.run(id) for id in backups.runs()]
    if is_json:
        print_array(map(_run_as_json, runs))
        return
    print_table(
        ("run", "begun", "packs", "bytes", "image sets", "database", "keys", "damaged packs"),
        [
            (
                *(run.id, moment(run.begun_at), run.packs, size(run.pack_bytes)),
                *(run.rows.get("image_set", 0), run.database, _key_files(run)),
                len(run.damaged),
            )
            for run in runs
        ],
        nothing="there is no run yet",
    )


def _key_files(run: Run) -> str:
    """Which a run holds; of an older version nobody knows more than that it does."""
    if run.key_files is None:
        return "yes" if run.has_keys else "no"
    return ", ".join(run.key_files) or "no"


def _chosen(settings: Settings, backups: Backups, id: str | None) -> Run | None:
    """The run that is about to be restored; None if there is none."""
    from lightwell.stores.backup.runs import newest
    from lightwell.stores.backup.targets import target

    begun = target(settings.database, settings.database_direct_url, settings.data / "spool").under_way()
    id = newest(backups.runs()) if begun is None and id is None else id
    id = id if begun is None else begun.run
    return None if id is None else backups.run(id)


def _restore(settings: Settings, backups: Backups, args: argparse.Namespace) -> RestoreReport:
    from lightwell.sealing.providers.interface import KeyProviderError
    from lightwell.stores import open_stores
    from lightwell.stores.backup.targets import target
    from lightwell.stores.keys.opening import open_ring
    from lightwell.stores.objects.sealed import SealedObjects
    from lightwell.work.backup.restore import STEPS, Restore, RestoreOptions
    from lightwell.work.engine_lock import EngineLock

    make_data_folder(settings)
    lock = ServerLock(settings)
    engine = EngineLock(settings.data)
    report = None
    try:
        if not engine.take():
            raise LightwellError(
                f"Process {engine.holder()} works on the data folder {settings.data}: stop it first"
            )
        with (
            engine,
            on_record(settings),
            closing(open_stores(settings)) as stores,
            Progress(*STEPS, quiet=args.json or not sys.stderr.isatty()) as bars,
        ):
            options = RestoreOptions(
                run_id=args.run_id,
                accepts_damage=args.despite_damage,
                when_begun=lambda run: _keep_keys(settings, backups, run, args.recovery_key),
                opened=lambda db, objects: SealedObjects(objects, open_ring(settings, db)),
            )
            database = target(settings.database, settings.database_direct_url, stores.spool)
            restore = Restore(backups, database, stores.objects.inner, options, Ids(), bars.show)
            try:
                report = restore.run()
                if report.is_usable:
                    _put_on_record(report.run)
            except KeyProviderError as error:
                raise _without_key(error, args) from error
            except StorageError as error:
                said = str(error).rstrip(".")
                raise StorageError(f"{said}. Run the same command again to go on") from error
            except ConfigurationError as error:
                if args.recovery_key is not None:
                    raise
                said = str(error).rstrip(".")
                raise ConfigurationError(
                    f"{said}. If the backup holds the keys, as --list says, run the same command again with "
                    "--recovery-key FILE, the file that was given to `lightwell data backup`"
                ) from error
    except LightwellError as error:
        if report is None:
            raise
        # Its beginning is on record, and it is done: whoever is told to run it again would be refused.
        print(f"lightwell: the end of the restore is not on record. {error}", file=sys.stderr)
    finally:
        lock.clear()
        os.close(lock.handle)
    assert report is not None, "what fails is raised"
    return report


def _put_on_record(run: Run) -> None:
    """Say which run is here now, and that its database was migrated, if it was."""
    from lightwell.stores.db.schema import REVISIONS

    command_trail.changed("run restored", None, run.id)
    if run.schema != REVISIONS[-1]:
        command_trail.changed("database schema", run.schema, REVISIONS[-1])


def _keep_keys(settings: Settings, backups: Backups, run: Run, recovery: Path | None) -> None:
    if recovery is not None:
        keep(settings, unsealed(backups, run, recovery))


def _without_key(error: StorageError, args: argparse.Namespace) -> StorageError:
    """What a person does who has everything of a run but a key."""
    has = " with --recovery-key FILE, if the run holds its keys as --list says, or"
    return StorageError(
        f"{str(error).rstrip('.')}. Packs and the database are restored: what lacks is that "
        "key, and nothing is lost for now. Another run helps only if it holds it. Run the same command again "
        f"to go on,{'' if args.recovery_key else has} once the line with that key is in the file"
    )


def _try_secret(settings: Settings) -> str | None:
    """What a person has to do before access keys work; None if nothing."""
    from lightwell.auth.secret_box import open_secret_box
    from lightwell.stores.account import principals
    from lightwell.stores.db.open import open_database

    try:
        with closing(open_database(settings)) as db, db.read() as conn:
            key = principals.holding(conn)
    except StorageError as error:
        # What is restored is whole, and was read; the disk may be full since.
        return f"It could not be tried whether access keys work, which `lightwell doctor` says. {error}"
    if key is None:
        return None
    try:
        open_secret_box(settings.read_secret_key(), settings.data).decrypt(key.secret)
    except ConfigurationError as error:
        return f"No access key works yet, and no server starts. {error}"
    return None


def _tell_faults(report: RestoreReport) -> None:
    for each in report.lost[:_MOST_SHOWN]:
        print(f"lightwell: {each.name}: {printable(each.reason)}", file=sys.stderr)
    if len(report.lost) > _MOST_SHOWN:
        print(f"lightwell: … and {len(report.lost) - _MOST_SHOWN} more", file=sys.stderr)
    for problem in report.problems:
        print(f"lightwell: {printable(problem)}", file=sys.stderr)
    if report.problems:
        print(
            "lightwell: the place is not usable: take another run (--list) into an empty place",
            file=sys.stderr,
        )
    elif report.lost and not report.is_usable:
        print(
            f"lightwell: {counted(len(report.lost), 'pack')} of this run cannot be had from this backup, so "
            "the place is not usable yet. If there is another copy of the backup, run the same command with "
            "it; to go without these packs, with --despite-damage",
            file=sys.stderr,
        )
    elif report.lost:
        print(
            f"lightwell: {counted(len(report.lost), 'pack')} are missing in the restored place, whose frames "
            "no client gets: `lightwell data verify` tells which image sets they belong to",
            file=sys.stderr,
        )


def _run_as_json(run: Run) -> dict[str, Any]:
    return {
        "run": run.id,
        "begunAt": run.begun_at,
        "version": run.version,
        "schema": run.schema,
        "database": run.database,
        "packs": run.packs,
        "packBytes": run.pack_bytes,
        "databaseBytes": run.database_bytes,
        "rows": run.rows,
        "hasKeys": run.has_keys,
        "keyFiles": run.key_files,
        "damaged": [{"pack": each.name, "reason": each.reason} for each in run.damaged],
    }


def _as_json(report: RestoreReport) -> dict[str, Any]:
    return {
        **_run_as_json(report.run),
        "isUsable": report.is_usable,
        "framesRead": report.frames,
        "lost": [{"pack": each.name, "reason": each.reason} for each in report.lost],
        "problems": report.problems,
        "openJobs": report.open_jobs,
    }


def _print(settings: Settings, report: RestoreReport) -> None:
    run = report.run
    packs = run.packs - len(report.lost)
    print(
        f"run {run.id} of {moment(run.begun_at)} restored: {counted(packs, 'pack')} ({size(run.pack_bytes)}) "
        f"compared with their checksums, {counted(run.rows.get('image_set', 0), 'image set')} in "
        f"{counted(run.rows.get('study', 0), 'study', 'studies')}, {counted(report.frames, 'frame')} read"
    )
    if report.open_jobs:
        print(
            f"{counted(len(report.open_jobs), 'import job')} go on once a server runs; files that are gone "
            "fail in their reports"
        )
    since = moment(run.begun_at)
    print(
        "What was stored after the backup is not there: import it again, from where it came. What was "
        "changed after it is as it was before: access keys and roles that were revoked or limited since "
        "are valid as they were, and patients and image sets that were deleted or erased since are there "
        "again. Do that once more before clients get access: with the audit trail of the old place,\n"
        f"  lightwell audit query --data OLD --from {since}    # or --archive COPY; --json shows all of it\n"
        "lists it: look for the kinds `access` and `change`"
    )
    print(f"Start a server on it: lightwell serve --data {settings.data}")
