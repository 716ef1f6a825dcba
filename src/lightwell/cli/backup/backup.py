"""``lightwell data backup``: all that is stored, while servers go on, to a folder or to S3."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightwell import __version__
from lightwell.cli import flags
from lightwell.cli.backup.key_files import KeyFiles
from lightwell.cli.backup.place import from_future, open_place
from lightwell.cli.progress import Progress
from lightwell.cli.store_session import store_session
from lightwell.cli.wording import counted, printable, size
from lightwell.clock import Ids
from lightwell.errors import StorageError

if TYPE_CHECKING:
    from lightwell.settings import Settings
    from lightwell.work.backup.backup import BackupReport

_NOT_IN_IT = (
    "DATA/audit, the audit trail: it is no part of the database; copy its files, which only grow, and "
    "DATA/audit.key, without which they prove nothing",
    "local buckets with what was imported and reports of import jobs, and DATA/events.ndjson",
    "lightwell.toml, certificates and DATA/authorizers",
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("destination", metavar="DEST", help="a folder, or s3://BUCKET/PREFIX")
    parser.add_argument(
        "--endpoint-url",
        metavar="URL",
        help="S3 endpoint of DEST [default: that of AWS, or AWS_ENDPOINT_URL]",
    )
    parser.add_argument(
        "--recovery-key",
        type=Path,
        metavar="FILE",
        help="32 bytes in base64, under which the backup holds the keys of the data folder; keep it apart "
        "from DEST",
    )
    parser.add_argument(
        "--without-keys",
        action="store_true",
        help="back up encrypted data stores without their key, of which there is a copy elsewhere",
    )
    parser.add_argument(
        "--keep", type=flags.count, metavar="N", help="remove all runs but the newest N [default: keep all]"
    )
    parser.add_argument(
        "--take-over",
        action="store_true",
        help="go on with the backups of the installation that was restored or moved to this one",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags.add(parser, (*flags.PLACES, "secret_key_file", "encryption_key_file"))


def run(args: argparse.Namespace) -> int:
    settings = flags.settings(args)
    report = _backup(settings, args)
    damaged = report.run.damaged
    if report.from_future:
        print(f"lightwell: {from_future(report.from_future)}", file=sys.stderr)
    if args.json:
        print(json.dumps(_as_json(report), indent=2))
    else:
        _print(report, args)
    for each in damaged:
        print(f"lightwell: {each.name}: {printable(each.reason)}", file=sys.stderr)
    if damaged:
        print(
            f"lightwell: {counted(len(damaged), 'pack')} are damaged in the storage and not in this backup, "
            "nor in an earlier one: `lightwell data verify` tells which image sets they belong to",
            file=sys.stderr,
        )
    return 1 if damaged else 0


def _backup(settings: Settings, args: argparse.Namespace) -> BackupReport:
    from lightwell.auth import recovery_key
    from lightwell.stores.backup.runs import Backups
    from lightwell.work.backup.backup import STEPS, Backup, BackupOptions

    given = args.recovery_key
    box = None if given is None else recovery_key.open_recovery_key(given)
    keys = KeyFiles(settings, box, may_lack=args.without_keys)
    with (
        store_session(settings, needs_objects=True) as stores,
        closing(open_place(args.destination, args.endpoint_url, settings)) as place,
        Progress(*STEPS, quiet=args.json or not sys.stderr.isatty()) as bars,
    ):
        options = BackupOptions(
            version=__version__, keys=keys.held, keep=args.keep, takes_over=args.take_over
        )
        backup = Backup(stores, Backups(place), options, Ids(), bars.show)
        try:
            return backup.run()
        except StorageError as error:
            said = str(error).rstrip(".")
            raise StorageError(f"{said}. There is no new run; what was copied serves the next") from error


def _as_json(report: BackupReport) -> dict[str, Any]:
    run = report.run
    return {
        "run": run.id,
        "begunAt": run.begun_at,
        "packs": run.packs,
        "packBytes": run.pack_bytes,
        "packsCopied": report.packs_copied,
        "bytesCopied": report.bytes_copied,
        "heldSeconds": round(report.held_seconds, 3),
        "databaseBytes": run.database_bytes,
        "rows": run.rows,
        "hasKeys": run.has_keys,
        "keyFiles": run.key_files or [],
        "runsFromFuture": report.from_future,
        "damaged": [{"pack": each.name, "reason": each.reason} for each in run.damaged],
        "pruned": {
            "runs": report.pruned.runs,
            "packs": report.pruned.packs,
            "pieces": report.pruned.pieces,
        },
    }


def _print(report: BackupReport, args: argparse.Namespace) -> None:
    run = report.run
    print(
        f"run {run.id}: {counted(run.packs, 'pack')} ({size(run.pack_bytes)}), "
        f"{counted(report.packs_copied, 'pack')} of them new ({size(report.bytes_copied)}), and the database "
        f"({size(run.database_bytes)})"
    )
    if args.keep is not None:
        gone = report.pruned
        print(
            f"{counted(gone.runs, 'older run')} removed, with {counted(gone.packs, 'pack')} and "
            f"{counted(gone.pieces, 'piece')} of databases that no run needs"
        )
    if report.lacks_encryption_key:
        print(
            "The encryption key is NOT in it: without a copy of DATA/encryption.key (or encryption_key_file) "
            "nobody can read what is encrypted. Keep a copy apart from the backup, or use --recovery-key FILE"
        )
    if "secret.key" not in (run.key_files or []):
        print(
            "The secret key is NOT in it: without a copy of DATA/secret.key (or the setting) no access key "
            "works after a restore. Keep a copy apart from the backup, or use --recovery-key FILE"
        )
    print("not in it:")
    for line in _NOT_IN_IT:
        print(f"  {line}")
