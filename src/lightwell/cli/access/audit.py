"""``lightwell audit query|verify``: who saw or changed what, and whether the trail that says so is whole."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightwell.cli import flags
from lightwell.errors import ConfigurationError, LightwellError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightwell.observe.audit.heads import Head
    from lightwell.observe.audit.keys import AuditKeys
    from lightwell.observe.audit.record import AuditRecord
    from lightwell.observe.audit.search import Found, Wanted
    from lightwell.observe.audit.verification import ChainReport
    from lightwell.settings import Settings
    from lightwell.stores.data_folder.audit_folder import AuditFolder

_PLACES = ("data", "allow_other_user", "audit_key_file")
_SHOWN = 3  # values of a list in a table


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    query = actions.add_parser(
        "query",
        help="find records of the audit trail of this data folder, oldest first",
        allow_abbrev=False,
    )
    query.add_argument("--patient", metavar="ID", help="about this PatientID")
    query.add_argument("--study", metavar="UID", help="about this StudyInstanceUID")
    query.add_argument("--set", metavar="ID", help="about this image set")
    query.add_argument("--datastore", metavar="ID", help="in the data store with this ID")
    query.add_argument(
        "--key",
        metavar="ID",
        help="by or about this access key, such as when it was made or rotated, old key or new; or refused "
        "to who claimed to have it",
    )
    query.add_argument(
        "--principal", metavar="NAME", help="by this ARN, the last part of one, or the subject of a token"
    )
    query.add_argument("--request", metavar="ID", help="of the request with this ID")
    query.add_argument("--denied", action="store_true", help="that were refused")
    query.add_argument(
        "--emergency", action="store_true", help="of roles for emergencies: when one was taken, and its use"
    )
    query.add_argument(
        "--from", dest="since", metavar="WHEN", help="a moment, or so long ago: 2026-12-01 or 7d"
    )
    query.add_argument("--until", metavar="WHEN", help="before such a moment")
    query.add_argument(
        "--archive",
        metavar="FOLDER",
        type=Path,
        help="look in a copy of complete files instead, with a folder for each process",
    )
    form = query.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a line of JSON for each record, complete")
    form.add_argument("--cloudtrail", action="store_true", help="the same as --as cloudtrail")
    form.add_argument(
        "--as",
        dest="form",
        choices=("cloudtrail", "fhir", "atna"),
        help="print them in another form, an event a line: as AWS CloudTrail writes them, as FHIR AuditEvent "
        "resources, or as the DICOM audit messages of IHE's ATNA",
    )
    verify = actions.add_parser(
        "verify",
        help="check that the audit trail of this data folder is what was written; exit code 1 if it is not",
        allow_abbrev=False,
    )
    verify.add_argument(
        "folder",
        metavar="FOLDER",
        nargs="?",
        type=Path,
        help="a copy of complete files instead, with a folder for each process, such as an archive",
    )
    verify.add_argument("--json", action="store_true", help="print one JSON object")
    verify.add_argument(
        "--without-database",
        action="store_true",
        help="do not ask the database how far the trail had come, such as for a copy of a data folder",
    )
    flags.add(query, (*_PLACES, "audit_full", "region", "account_id"))
    flags.add(verify, (*_PLACES, "database_url"))


def run(args: argparse.Namespace) -> int:
    from lightwell.cli.store_session import check_owner
    from lightwell.stores.data_folder.audit_folder import AuditFolder

    settings = flags.settings(args)
    check_owner(settings)
    folder = AuditFolder(settings.data, settings.audit_key_file)
    if args.action == "verify" and args.folder is not None:
        return _verify_copy(args, folder)
    if args.action == "query" and args.archive is not None:
        _check_archive(args.archive)
    elif not folder.root.is_dir():
        raise LightwellError(f"There is no audit trail in {settings.data}: check --data")
    return _query(args, settings, folder) if args.action == "query" else _verify(args, settings, folder)


def _query(args: argparse.Namespace, settings: Settings, folder: AuditFolder) -> int:
    from lightwell.cli.access.spans import start
    from lightwell.cli.wording import print_table
    from lightwell.clock import Clock
    from lightwell.observe.audit.search import Wanted, search

    now = Clock().now()
    wanted = Wanted(
        patient=args.patient,
        study=args.study,
        image_set=args.set,
        store=args.datastore,
        key=args.key,
        principal=args.principal,
        request=args.request,
        since=None if args.since is None else start(args.since, "--from", now),
        until=None if args.until is None else start(args.until, "--until", now),
        is_denied=args.denied,
        is_emergency=args.emergency,
    )
    archive = args.archive
    # On another machine there may be no trail to which it belongs.
    if archive is None or folder.root.is_dir():
        _record(settings, wanted, now, archive)
    damaged: list[str] = []

    def tell(writer: str, segment: int, why: str) -> None:
        damaged.append(f"segment {segment} of {writer} could not be read: {why}")

    keys = None
    with suppress(ConfigurationError):  # without them all is read
        keys = folder.keys()
    found = search(archive or folder.root, wanted, tell, keys)
    if args.json:
        for one in found:
            print(f'{{"writer":"{one.writer}",{one.line[1:].decode()}')
    elif args.cloudtrail or args.form:
        for line in _in_form(found, args.form or "cloudtrail", settings):
            print(line)
    else:
        print_table(
            ("TIME", "WHO", "FROM", "VIA", "WHAT", "ENDED", "PATIENT", "STUDY"),
            _rows(found),
            nothing="no record matches",
        )
    for text in damaged:
        print(f"lightwell: {text}; `lightwell audit verify` says more", file=sys.stderr)
    return 1 if damaged else 0


def _in_form(found: Iterator[Found], form: str, settings: Settings) -> Iterator[str]:
    """What others read of each record, a line each."""
    import socket

    from lightwell.observe.audit import cloudtrail
    from lightwell.observe.audit.forms.atna import atna_messages
    from lightwell.observe.audit.forms.fhir import audit_events
    from lightwell.observe.audit.forms.meaning import Place

    account, region, host = settings.account_id, settings.region, socket.gethostname()
    for one in found:
        place = Place(account, region, one.writer, host)
        if form == "atna":
            yield from atna_messages(one.record, place)
        elif form == "fhir":
            for event in audit_events(one.record, place):
                yield json.dumps(event, ensure_ascii=False)
        else:
            theirs = cloudtrail.Place(account, region, one.writer)
            yield json.dumps(cloudtrail.cloudtrail_record(one.record, theirs), ensure_ascii=False)


def _record(settings: Settings, wanted: Wanted, now: int, archive: Path | None) -> None:
    """Who looks at the trail, or at a copy of it, is in the trail, too."""
    from dataclasses import asdict

    from lightwell.cli.command_trail import keep
    from lightwell.observe.audit.record import AuditRecord

    asked = {name: value for name, value in asdict(wanted).items() if value not in (None, False)}
    if archive is not None:
        asked["archive"] = str(archive.absolute())
    keep(settings, [AuditRecord(at=now, operation="AuditQuery", kind="access", query=asked)])


def _rows(found: Iterator[Found]) -> Iterator[tuple[object, ...]]:
    from lightwell.cli.wording import moment

    for one in found:
        record = one.record
        yield (
            moment(record.at),
            _who(record),
            record.address,
            record.via,
            record.operation,
            _end(record),
            _listed(record.patient, record.patients),
            _listed(record.study, record.studies),
        )


def _who(record: AuditRecord) -> str:
    """As short as it can be told from others: without the account, and with whose token it was."""
    user = record.user
    if user is not None:
        # So the system's root is not taken for the root key.
        name = f"OS user {user.name or user.uid}"
        return name if user.loginuid in (None, user.uid) else f"{name} (login {user.loginuid})"
    if record.who is None:
        return "" if record.claimed is None else f"claims {record.claimed}"
    name = record.who.rpartition(":")[2]
    return name if record.subject is None else f"{name} ({record.subject})"


def _end(record: AuditRecord) -> str:
    if record.lost:
        return f"{record.lost:,} lost"
    said = [str(part) for part in (record.status, record.error) if part is not None]
    if record.emergency:
        said.append("emergency" if record.reason is None else f"emergency: {record.reason}")
    if record.recovered:
        said.append("on record later")
    if record.is_cut:
        said.append("cut short")
    elif record.phase == "begun":
        said.append("begun")
    if record.count > 1:
        said.append(f"{record.count:,} times")
    return " ".join(said)


def _listed(one: str | None, several: tuple[str, ...]) -> str:
    if not several:
        return one or ""
    rest = len(several) - _SHOWN
    return ", ".join(several[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _verify_copy(args: argparse.Namespace, folder: AuditFolder) -> int:
    """Verify files that were copied elsewhere, by the keys of this data folder."""
    from lightwell.observe.audit.heads import expectations
    from lightwell.observe.audit.verification import verify

    _check_archive(args.folder)
    keys = folder.keys()
    reports = list(verify(args.folder, keys, expectations(args.folder, keys, ()), is_part=True))
    return _tell(args, reports, args.folder, keys)


def _check_archive(folder: Path) -> None:
    from lightwell.observe.audit.segments import all_segments

    if next(all_segments(folder), None) is None:
        raise LightwellError(
            f"{folder} holds no audit trail: name the folder that has one for each process, such as "
            "http-0 and work, with files like 000000000001.jsonl.zst"
        )


def _verify(args: argparse.Namespace, settings: Settings, folder: AuditFolder) -> int:
    from lightwell.observe.audit.heads import expectations
    from lightwell.observe.audit.verification import verify

    keys = folder.keys()
    # Before the trail is read, which may go on meanwhile.
    noted = [] if args.without_database else _noted(settings, folder)
    reports = list(verify(folder.root, keys, expectations(folder.root, keys, noted)))
    return _tell(args, reports, folder.root, keys)


def _tell(args: argparse.Namespace, reports: list[ChainReport], root: Path, keys: AuditKeys) -> int:
    from lightwell.observe.audit.overdone import add_overdone

    add_overdone(reports, root, keys)
    if args.json:
        print(json.dumps({"chains": [_as_json(report) for report in reports]}, indent=2))
    else:
        _print_reports(reports)
    return 1 if any(report.findings for report in reports) else 0


def _noted(settings: Settings, folder: AuditFolder) -> list[Head]:
    """The heads of the chains of this data folder, as its servers noted them in the database."""
    from lightwell.cli.store_session import database_session
    from lightwell.stores.background import audit_heads

    node = folder.node()
    if node is None:
        raise LightwellError(
            f"{settings.data} has no node.id, by which the database knows it: put it back, or verify the "
            "trail alone with --without-database"
        )
    with database_session(settings) as db, db.read() as conn:
        return audit_heads.of_nodes(conn, [node])


def _print_reports(reports: list[ChainReport]) -> None:
    from lightwell.cli.wording import counted, moment, print_table, printable, size

    print_table(
        ("WRITER", "SEGMENTS", "RECORDS", "SIZE", "FROM", "UNTIL", "RESULT"),
        [
            (
                report.writer,
                report.segments,
                report.records,
                size(report.size),
                moment(report.first_at) if report.first_at else None,
                moment(report.last_at) if report.last_at else None,
                counted(len(report.findings), "finding") if report.findings else "whole",
            )
            for report in reports
        ],
        nothing="the audit trail is empty",
    )
    for report in reports:
        for finding in report.findings:
            print(printable(f"FINDING {finding.writer}{_segment(finding.segment)}: {finding.text}"))
    for report in reports:
        for remark in report.remarks:
            print(printable(f"note {remark.writer}{_segment(remark.segment)}: {remark.text}"))


def _segment(number: int) -> str:
    return f" segment {number}" if number else ""


def _as_json(report: ChainReport) -> dict[str, Any]:
    return {
        "writer": report.writer,
        "segments": report.segments,
        "records": report.records,
        "bytes": report.size,
        "firstAt": report.first_at or None,
        "lastAt": report.last_at or None,
        "lastRecord": report.number,
        "findings": [{"segment": each.segment or None, "text": each.text} for each in report.findings],
        "notes": [{"segment": each.segment or None, "text": each.text} for each in report.remarks],
    }
