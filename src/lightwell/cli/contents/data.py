"""``lightwell data verify|migrate|move|backup|restore|keys``: maintenance of the stored data.

How it is moved: `data_move`; keys: `data_keys`; backups: `lightwell.cli.backup`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

from lightwell.cli import command_trail, flags
from lightwell.cli.backup import backup as data_backup
from lightwell.cli.backup import restore as data_restore
from lightwell.cli.contents import data_keys, data_move
from lightwell.cli.running_server import ServerLock
from lightwell.cli.store_session import (
    check_owner,
    make_data_folder,
    migrate_on_record,
    on_record,
    store_session,
)
from lightwell.cli.verifying.findings import PAGES_CURE, Finding, findings_of
from lightwell.cli.wording import counted
from lightwell.domain.integrity import FaultKind
from lightwell.errors import ConfigurationError, DamagedError, LightwellError

if TYPE_CHECKING:
    from lightwell.domain.integrity import Problem
    from lightwell.settings import Settings
    from lightwell.stores import Stores
    from lightwell.work.verifying.repair import Repairs
    from lightwell.work.verifying.report import Report
    from lightwell.work.verifying.run import Mode, Verifier


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    verify = actions.add_parser("verify", help="read all stored data back and check it", allow_abbrev=False)
    depth = verify.add_mutually_exclusive_group()
    depth.add_argument(
        "--quick", action="store_true", help="check packs and database rows only, without decoding frames"
    )
    depth.add_argument("--all", action="store_true", help="decode every frame, not one in a hundred")
    verify.add_argument("--rate", type=_rate, metavar="MB", help="read at most so many megabytes a second")
    begin = verify.add_mutually_exclusive_group()
    begin.add_argument(
        "--resume",
        action="store_true",
        help="go on with your run that was interrupted, which does not look again at what it has looked at",
    )
    begin.add_argument("--from-start", action="store_true", help="begin anew, as it does without --resume")
    verify.add_argument(
        "--repair",
        action="store_true",
        help="put back damaged and missing packs from where --from says, and make search indexes anew",
    )
    verify.add_argument(
        "--from",
        dest="sources",
        action="append",
        default=[],
        metavar="PLACE",
        help="a backup of `lightwell data backup`, or another copy of the storage: a folder or s3://BUCKET; "
        "may be given again",
    )
    verify.add_argument("--json", action="store_true", help="print one JSON object")
    migrate = actions.add_parser(
        "migrate", help="migrate the database to the schema of this version", allow_abbrev=False
    )
    migrate.add_argument(
        "--page-checksums",
        action="store_true",
        help="give the pages of an SQLite database checksums, too, by copying it; stop the server before",
    )
    move = actions.add_parser(
        "move", help="copy everything to another database, another storage, or both", allow_abbrev=False
    )
    data_move.add(move)
    backup = actions.add_parser(
        "backup", help="copy everything to a folder or to S3, while servers go on", allow_abbrev=False
    )
    data_backup.add(backup)
    restore = actions.add_parser(
        "restore", help="bring a backup back into an empty place, and check it", allow_abbrev=False
    )
    data_restore.add(restore)
    data_keys.add(actions.add_parser("keys", help="the keys that encrypt data stores", allow_abbrev=False))
    flags.add(verify, (*flags.PLACES, "codec_workers", "worker_memory", "file_timeout"))
    flags.add(migrate, ("data", "database_url", "allow_other_user"))


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not rate > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of megabytes above 0")
    return rate * 1e6


def run(args: argparse.Namespace) -> int:
    apart = {
        "move": data_move.run,
        "backup": data_backup.run,
        "restore": data_restore.run,
        "keys": data_keys.run,
    }
    if args.action in apart:
        return apart[args.action](args)
    settings = flags.settings(args)
    return _migrate(settings, args) if args.action == "migrate" else _verify(settings, args)


def _migrate(settings: Settings, args: argparse.Namespace) -> int:
    from lightwell.stores.db.open import open_database

    check_owner(settings)
    make_data_folder(settings)
    with on_record(settings):
        db = open_database(settings)
        try:
            changed = migrate_on_record(settings, db)
        finally:
            db.close()
        print(
            f"{db.address}: "
            f"{'migrated to the schema of this version' if changed else 'the schema is already current'}"
        )
        if args.page_checksums:
            print(f"{db.address}: {_give_pages_checksums(settings)}")
    return 0


def _give_pages_checksums(settings: Settings) -> str:
    from lightwell.stores.db.drivers import sqlite_path
    from lightwell.stores.page_checksums.conversion import convert
    from lightwell.work.engine_lock import EngineLock

    if not settings.database.startswith("sqlite:"):
        raise LightwellError(
            "--page-checksums is for SQLite; for PostgreSQL stop it and run `pg_checksums --enable`"
        )
    lock, engine = ServerLock(settings), EngineLock(settings.data)
    try:
        if not engine.take():
            raise LightwellError(
                f"Process {engine.holder()} works on the data folder {settings.data}: stop it first"
            )
        with engine:
            is_new = convert(sqlite_path(settings.database))
    finally:
        lock.clear()
    return "its pages have checksums now" if is_new else "its pages have checksums already"


def _verify(settings: Settings, args: argparse.Namespace) -> int:
    if args.sources and not args.repair:
        raise ConfigurationError("--from PLACE says where --repair finds another copy: give both")
    if args.repair and (command := command_trail.current()) is not None:
        command.becomes("change")
    try:
        run, report, repairs = _checked(settings, args)
    except DamagedError as error:
        # Maybe of what describes all other pages: then nothing can be opened.
        raise LightwellError(f"{error} What is damaged is needed to go on. {PAGES_CURE}") from error
    if run.is_resumed:
        since = datetime.fromtimestamp(run.began_at / 1000, UTC).isoformat(timespec="seconds")
        print(
            f"went on with a run that began at {since} and was interrupted: what it had looked at before "
            "was not looked at again",
            file=sys.stderr,
        )
    findings = findings_of(report, settings)
    if args.json:
        more = {}
        if repairs is not None:
            done = {"repaired": repairs.repaired, "rebuilt": repairs.rebuilt}
            more = {**done, "notRepaired": repairs.failed}
        print(json.dumps({**_as_json(report, findings), **more}, indent=2))
    else:
        for name in repairs.repaired if repairs is not None else ():
            print(f"{name}: put back, and read back")
        for name in repairs.rebuilt if repairs is not None else ():
            print(f"image set {name}: found again by what it shows")
        for name, reason in repairs.failed.items() if repairs is not None else ():
            print(f"{name}: could not be repaired: {reason}", file=sys.stderr)
        _print(report, findings, quick=args.quick)
    return 1 if any(problem.kind is not FaultKind.DROPPED for problem in report.problems) else 0


def _checked(settings: Settings, args: argparse.Namespace) -> tuple[Verifier, Report, Repairs | None]:
    """Raises `DamagedError` if what is damaged is needed to go on, or to begin."""
    from lightwell.work.verifying.run import Verifier

    mode: Mode = "quick" if args.quick else "all" if args.all else "sample"
    with (
        store_session(settings, needs_objects=True) as stores,
        _bar(quiet=args.json or not sys.stderr.isatty()) as show,
    ):
        run = Verifier(stores, settings, show, mode=mode, rate=args.rate)
        report = run.run(from_start=not args.resume)
        repairs = _repair(settings, stores, report, args.sources) if args.repair else None
        if repairs is not None and repairs.repaired:
            # What that has cured, and what is left, only another look tells.
            report = Verifier(stores, settings, lambda done, total: None, mode=mode).run(from_start=True)
        if repairs is not None and not args.quick:  # which has not looked at what the rows are made of
            _rebuild(settings, stores, report, repairs)
        _note(settings, report.problems)
    return run, report, repairs


def _repair(settings: Settings, stores: Stores, report: Report, sources: Sequence[str]) -> Repairs:
    from lightwell.cli.backup.place import open_place
    from lightwell.work.verifying.repair import repair

    with ExitStack() as stack:
        opened = [
            stack.enter_context(closing(open_place(place, settings.storage_endpoint_url, settings)))
            for place in sources
        ]
        return repair(stores, report.problems, opened, lambda name: _record(settings, report, name))


def _rebuild(settings: Settings, stores: Stores, report: Report, repairs: Repairs) -> None:
    """Make rows anew; what was cured is struck off the report, since each is compared again then."""
    from lightwell.work.verifying.row_repair import is_of_rows, rebuild_rows

    rebuild_rows(stores, report.problems, repairs, lambda id: _record(settings, report, id))
    cured = set(repairs.rebuilt)
    report.problems = [
        problem for problem in report.problems if not (is_of_rows(problem) and problem.image_set_id in cured)
    ]


def _record(settings: Settings, report: Report, what: str) -> None:
    """Leave in the audit trail which pack was put back, or whose rows were made anew, and of whom."""
    _note(settings, [each for each in report.problems if what in (each.pack, each.image_set_id)], what)
    if (command := command_trail.current()) is not None:
        if not command.note.items:
            command.note.asked_for(what)
        command.did(settings)


def _note(settings: Settings, problems: Sequence[Problem], what: str | None = None) -> None:
    """Note whom these problems are about, by data store; ``what`` stands in each record that this takes."""
    command = command_trail.current()
    if command is None:
        return
    about = {concern for each in problems for concern in each.concerns} | {
        (each.datastore_id, each.image_set_id, each.patient_id, each.study_instance_uid) for each in problems
    }
    for store, image_set, patient, study in sorted(about, key=lambda one: [each or "" for each in one]):
        if store is None:
            continue  # a page of the database, or a pack that names nobody by itself
        command.goes_to(settings, store)
        command.got_on(settings)
        if what is not None and not command.note.items:
            command.note.asked_for(what)
        command.note.saw(image_set, patient, study)


def _as_json(report: Report, findings: list[Finding]) -> dict[str, object]:
    problems = [
        {
            "kind": problem.kind,
            "datastoreId": problem.datastore_id,
            "imageSetId": problem.image_set_id,
            "patientId": problem.patient_id,
            "studyInstanceUid": problem.study_instance_uid,
            "sopInstanceUid": problem.sop_instance_uid,
            "pack": problem.pack,
            "reason": problem.reason,
            "concerns": [
                dict(zip(("datastoreId", "imageSetId", "patientId", "studyInstanceUid"), one, strict=True))
                for one in problem.concerns
            ],
        }
        for problem in report.problems
    ]
    counts = {key: value for key, value in asdict(report).items() if key != "problems"}
    counts["imageSets"] = counts.pop("image_sets")
    counts["framesChecksummed"] = counts.pop("frames_checksummed")
    counts["framesWithoutChecksum"] = counts.pop("frames_without_checksum")
    grouped = [
        {"kind": one.kind, "count": len(one.problems), "says": one.says, "cure": one.cure} for one in findings
    ]
    return {**counts, "findings": grouped, "problems": problems}


def _print(report: Report, findings: list[Finding], *, quick: bool) -> None:
    def place(problem: Problem) -> tuple[str, str, str, str]:
        return (
            problem.patient_id or "",
            problem.study_instance_uid or "",
            problem.datastore_id or "",
            problem.image_set_id or "",
        )

    damaged = [problem for problem in report.problems if problem.kind == FaultKind.DAMAGED]
    for (patient, study, store, image_set), found in groupby(sorted(damaged, key=place), place):
        whose = f"image set {image_set} of data store {store}"
        print(
            f"{whose}, {_study(patient, study)}:" if image_set else "packs and pages:",
            file=sys.stderr,
        )
        for problem in found:
            name = problem.sop_instance_uid or ("" if image_set else problem.pack)
            print(f"  {f'{name}: ' if name else ''}{problem.reason}", file=sys.stderr)
            for _, set_id, patient_id, study_uid in problem.concerns:
                print(f"    image set {set_id}, {_study(patient_id, study_uid)}", file=sys.stderr)
    sets, packs = counted(report.image_sets, "image set"), counted(report.packs, "pack")
    checked = f"{sets} and {packs} ({counted(report.bytes, 'byte')})"
    if not quick:
        checked += f" with {counted(report.instances, 'instance')}, {counted(report.frames, 'frame')} decoded"
        checked += f", {counted(report.documents, 'document')}"
    if report.strays:
        strays = counted(report.strays, "pack")
        print(f"{strays} in the storage that no row of the database names: the collector removes them")
    if report.frames_checksummed:
        made = counted(report.frames_checksummed, "frame")
        print(f"{made} had no checksum of the stored bytes, and got one after being decoded and compared")
    if report.frames_without_checksum:
        without = counted(report.frames_without_checksum, "frame")
        print(f"{without} have no checksum of the stored bytes: it is made once they are verified as intact")
    problems = sum(problem.kind is not FaultKind.DROPPED for problem in report.problems)
    if problems:
        print(f"{checked} checked: {counted(problems, 'problem')}", file=sys.stderr)
    else:
        print(f"{checked} checked: everything is intact")
    for one in findings:
        print(f"{one.says}.\n{one.cure}", file=sys.stderr)


def _study(patient: str | None, study: str | None) -> str:
    return f"study {study or 'without UID'} of patient {patient or 'without ID'}"


@contextmanager
def _bar(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    if quiet:
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("checked"), BarColumn(bar_width=None), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task("checked", total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)
