"""``lightwell data move``: everything to another database, another storage, or both."""

from __future__ import annotations

import argparse
import json
import shlex
import socket
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightwell.cli import command_trail, flags
from lightwell.cli.progress import Progress
from lightwell.cli.running_server import ServerLock, database_place
from lightwell.cli.store_session import check_owner, store_session
from lightwell.cli.wording import counted
from lightwell.clock import Ids
from lightwell.errors import ConfigurationError, LightwellError, StorageError
from lightwell.setting_urls import masked_url
from lightwell.stores.objects.open import local_root

if TYPE_CHECKING:
    from lightwell.settings import Settings
    from lightwell.stores import Stores
    from lightwell.stores.moving.changes import Changes, Sealing
    from lightwell.work.moving.move import MoveReport


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--to-database-url", metavar="URL", help="the new database; it stays where it is if this is left out"
    )
    parser.add_argument(
        "--to-storage-url", metavar="URL", help="the new storage; it stays where it is if this is left out"
    )
    parser.add_argument("--to-storage-endpoint-url", metavar="URL", help="S3 endpoint of the new storage")
    parser.add_argument(
        "--to-secret-key-file",
        type=Path,
        metavar="FILE",
        help="file with the secret key of the new database; the one of the old if this is left out",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags.add(parser, (*flags.PLACES, "secret_key_file"))


def run(args: argparse.Namespace) -> int:
    settings = flags.settings(args)
    new = _new_settings(settings, args)
    check_owner(settings)
    if not settings.data.is_dir():
        raise LightwellError(f"There is no data folder {settings.data}: check --data")
    report = _move(settings, new, args)
    if args.json:
        print(json.dumps(_as_json(report), indent=2))
    for problem in report.problems:
        print(f"lightwell: {problem}", file=sys.stderr)
    if report.problems:
        print(
            f"lightwell: {counted(len(report.problems), 'problem')}: the new place is not usable yet, and "
            "the old one is as it was. Restore what is damaged from a backup, or delete the image sets that "
            "`lightwell data verify` names and let a server collect them; then run the same command again",
            file=sys.stderr,
        )
        return 1
    if not args.json:
        _print(report, settings, new, args)
    return 0


def _new_settings(settings: Settings, args: argparse.Namespace) -> Settings:
    """The settings of a server on the new place. Raises `ConfigurationError`."""
    from lightwell.setting_urls import database_fault, endpoint_fault, storage_fault

    given = {
        "--to-database-url": (args.to_database_url, database_fault),
        "--to-storage-url": (args.to_storage_url, storage_fault),
        "--to-storage-endpoint-url": (args.to_storage_endpoint_url, endpoint_fault),
    }
    for flag, (value, fault) in given.items():
        if value and (words := fault(value)):
            raise ConfigurationError(f"{flag} {words}")
    if not (args.to_database_url or args.to_storage_url):
        raise ConfigurationError("Say where to: --to-database-url, --to-storage-url, or both")
    if args.to_storage_endpoint_url and not args.to_storage_url:
        raise ConfigurationError("--to-storage-endpoint-url is about --to-storage-url, which is not given")
    if args.to_secret_key_file and not args.to_database_url:
        raise ConfigurationError("--to-secret-key-file is about --to-database-url, which is not given")
    new = settings
    if args.to_database_url:
        new = replace(new, database_url=args.to_database_url, database_direct_url=None)
        new = replace(new, database_replica_url=None, database_pooler="none")
        if database_place(new) == database_place(settings):
            raise ConfigurationError("--to-database-url is the database that the data is in")
    if args.to_storage_url:
        endpoint = args.to_storage_endpoint_url
        new = replace(new, storage_url=args.to_storage_url, storage_endpoint_url=endpoint)
        if (new.storage, endpoint) == (settings.storage, settings.storage_endpoint_url):
            raise ConfigurationError("--to-storage-url is the storage that the data is in")
    if args.to_secret_key_file:
        new = replace(new, secret_key=None, secret_key_file=args.to_secret_key_file)
    return new


def _move(settings: Settings, new: Settings, args: argparse.Namespace) -> MoveReport:
    from lightwell.stores import open_stores
    from lightwell.stores.queues.choice import enqueue_of, kind_of
    from lightwell.work.engine_lock import EngineLock
    from lightwell.work.moving.move import STEPS, Move, Place

    lock = ServerLock(settings)
    engine = EngineLock(settings.data)
    if not engine.take():
        raise LightwellError(
            f"Process {engine.holder()} works on the data folder {settings.data}: stop it first"
        )
    try:
        quiet = args.json or not sys.stderr.isatty()
        with (
            engine,
            store_session(settings) as old,
            closing(open_stores(new)) as to,
            Progress(*STEPS, quiet=quiet) as bars,
        ):
            db = to.db if args.to_database_url else old.db
            move = Move(
                Place(old.db, old.objects),
                Place(db, to.objects if args.to_storage_url else old.objects),
                identity=_identity(settings),
                new_id=Ids().id(),
                changes=_changes(settings, new, old, to),
                enqueue=enqueue_of(kind_of(new.engine, db)),
                show=bars.show,
            )
            try:
                report = move.run()
            except StorageError as error:
                raise StorageError(f"{error} Run the same command again to go on") from error
            if not report.problems:
                _put_on_record(settings, new)
            return report
    finally:
        lock.clear()


def _put_on_record(settings: Settings, new: Settings) -> None:
    """Say where everything is from now on, as a server's start does, and of a new database the schema."""
    from lightwell.settings import masked
    from lightwell.stores.db.schema import REVISIONS

    told = (
        ("database_url", settings.database, new.database),
        ("storage_url", settings.storage, new.storage),
        ("storage_endpoint_url", settings.storage_endpoint_url, new.storage_endpoint_url),
        ("secret_key_file", settings.secret_key_file, new.secret_key_file),
    )
    for name, before, after in told:
        if before != after:
            command_trail.changed(name, masked(name, before) or None, masked(name, after) or None)
    if new.database != settings.database:
        command_trail.changed("database schema", None, REVISIONS[-1])


def _identity(settings: Settings) -> str:
    """What no other source has in common with this one."""
    place = database_place(settings)
    host = socket.gethostname() if place.startswith("sqlite:") else ""
    return "\n".join((host, place, settings.storage, settings.storage_endpoint_url or ""))


def _changes(settings: Settings, new: Settings, old: Stores, to: Stores) -> Changes:
    from lightwell.stores.moving.changes import Changes
    from lightwell.stores.moving.destination import open_jobs

    node = None
    if old.db.dialect == "sqlite" and to.db.dialect == "postgresql":
        with old.db.read() as conn:
            node = old.node.id if open_jobs(conn) else None
    return Changes(node, _sealing(settings, new, old))


def _sealing(settings: Settings, new: Settings, old: Stores) -> Sealing | None:
    """How secrets are encrypted anew; None if the secret key stays, which has to be the right one."""
    from lightwell.auth.secret_box import open_secret_box
    from lightwell.stores.account import principals
    from lightwell.stores.moving.changes import Sealing

    with old.db.read() as conn:
        key = principals.holding(conn)
    if key is None and new.secret_key_file == settings.secret_key_file:
        return None
    box = open_secret_box(settings.read_secret_key(), settings.data)
    if key is not None:
        box.decrypt(key.secret)
    if new.secret_key_file == settings.secret_key_file:
        return None
    other = open_secret_box(new.read_secret_key(), new.data)

    def open_old(secret: bytes) -> str:
        try:
            return box.decrypt(secret)
        except ConfigurationError:
            # Of a key that was revoked, under a secret key that is lost: it is of no use to anyone.
            return ""

    return Sealing(open_old, other.decrypt, other.encrypt)


def _as_json(report: MoveReport) -> dict[str, Any]:
    return {
        "packs": report.packs,
        "bytes": report.bytes,
        "framesRead": report.frames,
        "unitsQueued": report.queued_units,
        "openJobs": report.open_jobs,
        "tables": [{"table": each.table, "rows": each.rows, "sha256": each.sha256} for each in report.tables],
        "problems": report.problems,
    }


def _print(report: MoveReport, settings: Settings, new: Settings, args: argparse.Namespace) -> None:
    total = sum(each.rows for each in report.tables)
    said = [f"{counted(report.packs, 'pack')} ({counted(report.bytes, 'byte')})"]
    if args.to_database_url:
        said.append(counted(total, "row"))
    verb = "moved and compared" if args.to_storage_url else "moved and compared, the packs where they were"
    print(f"{' and '.join(said)} {verb}; {counted(report.frames, 'frame')} read from the new place")
    data = settings.data.absolute()
    if report.open_jobs and new.database != settings.database:
        print(
            f"{counted(len(report.open_jobs), 'import job')} go on there; those on local buckets only with a "
            f"server or worker whose data folder is {data}"
        )
    print("Still in the data folder, and not moved:")
    for name, what in _left_behind(settings):
        print(f"  {name}: {what}")
    if args.to_storage_url and args.to_database_url:
        print("The old one is as it was. Start servers with these settings now:")
    else:
        what = "storage" if args.to_database_url else "database"
        print(f"The {what} belongs to the new place now: a server with the old settings is refused.")
        print("Start servers with these settings now:")
    for line in _settings_now(settings, new, args):
        print(f"  {line}")


def _left_behind(settings: Settings) -> list[tuple[str, str]]:
    held = [
        (settings.buckets, "local buckets"),
        (settings.events, "the file of delivered events"),
        (settings.data / "credentials", "the root key; each server writes its own from the database"),
        (settings.data / "documents", "cached documents, which are made again"),
        (settings.data / "cache", "what was cached of S3, which is fetched again"),
        (settings.authorizers, "modules of `python:` authorizers: install them where servers run"),
        (settings.data / "secret.key", "the secret key"),
        (settings.data / "node.id", "which folder this is: never copy it"),
    ]
    return [(str(path), what) for path, what in held if path.exists()]


def _settings_now(settings: Settings, new: Settings, args: argparse.Namespace) -> list[str]:
    lines = []
    if args.to_database_url or settings.database_url:
        lines.append(f"LIGHTWELL_DATABASE_URL={shlex.quote(masked_url(new.database))}")
    if args.to_storage_url or settings.storage_url or args.to_database_url:
        lines.append(f"LIGHTWELL_STORAGE_URL={shlex.quote(new.storage)}")
    if new.storage_endpoint_url and local_root(new.storage) is None:
        lines.append(f"LIGHTWELL_STORAGE_ENDPOINT_URL={shlex.quote(new.storage_endpoint_url)}")
    if new.secret_key is not None:
        lines.append("LIGHTWELL_SECRET_KEY as it was")
    else:
        file = new.secret_key_file or settings.data / "secret.key"
        if file.exists():
            lines.append(
                f"LIGHTWELL_SECRET_KEY_FILE={shlex.quote(str(file.absolute()))}, or a copy of this file"
            )
    return lines
