"""``lightwell erase``: all image sets of a patient or a study, primary or not, with all their versions."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lightwell.cli import flags, question
from lightwell.cli.contents import named_store, set_deletion
from lightwell.cli.contents.set_deletion import SetId
from lightwell.cli.contents.set_listing import Wanted, search
from lightwell.cli.store_session import local_context, store_session
from lightwell.cli.wording import counted, duration, size
from lightwell.domain.image_sets.levels import PATIENT, STUDY
from lightwell.errors import ConfigurationError
from lightwell.observe.audit.note import AuditNote
from lightwell.stores.account import datastores
from lightwell.stores.collector import erasure
from lightwell.stores.objects.pack_objects import pack_name

if TYPE_CHECKING:
    from lightwell.domain.datastore import DataStore
    from lightwell.operations.context import Context
    from lightwell.settings import Settings
    from lightwell.stores.db.purge import Purged

_MOST_ROUNDS = 10
_MOST_NAMES = 5  # of data stores in the question
_HOW_TO_REWRITE = (
    "make room for another copy of the database, beside it and in spool of the data folder, or wait until it "
    "is less busy; then `lightwell erase --now`, without an ID"
)
_STAYS = (
    "backups of the database and of the storage, and earlier versions of objects in a versioned S3 bucket",
    "names of imported files, in the reports and rows of import jobs",
    "the audit trail, which says who saw or changed what, by IDs of patients, studies and image sets",
    "IDs of image sets and times, in events, logs and the list of deleted image sets",
    "the files that were imported, in their folders and buckets",
)
_STAYS_IN_POSTGRESQL = (
    "in PostgreSQL, deleted rows until its VACUUM reuses their room, and its write-ahead log and replicas",
    "metadata and thumbnails cached by other servers of the database, in their data folders: about an hour",
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--patient", metavar="ID", help="erase what has this PatientID")
    parser.add_argument("--study", metavar="UID", help="erase what has this StudyInstanceUID")
    parser.add_argument("--datastore", metavar="NAME", help="name or ID of the data store [default: all]")
    parser.add_argument(
        "--now",
        action="store_true",
        help="remove rows and bytes at once, without collect_interval and collect_grace; alone, of all that "
        "was deleted before",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags.add(parser, (*flags.PLACES, "collect_interval", "collect_grace"))


def run(args: argparse.Namespace) -> int:
    settings = flags.settings(args)
    wanted = Wanted(args.patient, args.study)
    for value in (args.patient, args.study):
        if value is not None and not value.strip():
            raise ConfigurationError("Give a PatientID or StudyInstanceUID that is not empty")
    if wanted == Wanted() and not args.now:
        raise ConfigurationError("Say what to erase: --patient ID or --study UID")
    with store_session(settings, needs_objects=True) as stores:
        # On record is what is erased, not what was looked for.
        ctx = replace(local_context(settings, stores), note=AuditNote())
        places = named_store.chosen(ctx, args.datastore)
        erased: list[SetId] = []
        packs: set[int] = set()
        if wanted != Wanted():
            what = _describe(ctx, places, wanted)
            if what and not question.agreed(f"Erase {what}? This cannot be undone.", is_sure=args.yes):
                print("nothing was erased", file=sys.stderr)
                return 1
            if what:  # else what an import brings meanwhile would go without a question
                erased, packs = _delete(ctx, places, wanted)
        with stores.db.read() as conn:
            count, packed = len(packs), erasure.pack_bytes(conn, packs)
            is_importing = any(datastores.has_running_jobs(conn, store.key) for store in places)
        left: list[int] = []
        purged: Purged | None = None
        if args.now:
            left, removed, purged = _remove_now(ctx, None if wanted == Wanted() else sorted(packs))
            if wanted == Wanted():
                count, packed = removed["packs"], removed["pack_bytes"]
        former, unopened = _former(ctx, places, wanted)
        unused = _other_packs(ctx) if args.now else 0
    report = {
        "imageSets": [each.as_json() for each in erased],
        "packs": count,
        "packBytes": packed,
        "isRemoved": args.now and (bool(erased) or wanted == Wanted()),
        "packsStillReferredTo": [f"{key:016x}" for key in left],
        "otherUnusedPacks": unused,
        "isDatabaseRewritten": purged is not None and purged.is_done,
        "whyNotRewritten": None if purged is None or purged.is_done else purged.value,
        "inEarlierVersions": [each.as_json() for each in former],
        "earlierVersionsNotRead": [each.as_json() for each in unopened],
        "hasRunningImports": is_importing,
        "stays": _stays(ctx),
    }
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        print(f"{counted(len(erased), 'image set')} erased")
        for line in [
            *(
                _when(settings, report, is_sqlite=ctx.stores.db.dialect == "sqlite")
                if erased or wanted == Wanted()
                else _nothing(settings, is_now=args.now)
            ),
            *_warnings(settings, report, has_ids=wanted != Wanted()),
        ]:
            print(line)
        print("what stays, if there is any:")
        for line in _stays(ctx):
            print(f"  {line}")
    return 0


def _describe(ctx: Context, places: list[DataStore], wanted: Wanted) -> str:
    """What would be erased, and from which data stores; "" if there is nothing."""
    sets = instances = 0
    names: dict[str, str] = {}
    for each in search(ctx, places, wanted):
        sets += 1
        instances += each.tags.dicom_number_of_study_related_instances or 0
        names[each.store.id] = each.store.name or each.store.id
    if not sets:
        return ""
    where = counted(len(names), "data store")
    if len(names) <= _MOST_NAMES:
        where = f"data store{'' if len(names) == 1 else 's'} {', '.join(names.values())}"
    return f"{counted(sets, 'image set')} with {counted(instances, 'instance')} in {where}"


def _delete(ctx: Context, places: list[DataStore], wanted: Wanted) -> tuple[list[SetId], set[int]]:
    """Delete until a search finds no more, since imports may go on; returns what, and the packs it was in.

    A set that has changed since it was found may be about another patient: the next search decides.
    """
    erased: list[SetId] = []
    packs: set[int] = set()
    for _ in range(_MOST_ROUNDS):
        found = [
            SetId(each.store.id, each.found.image_set_id, each.found.version)
            for each in search(ctx, places, wanted)
        ]
        if not found:
            break
        with ctx.stores.db.read() as conn:
            packs |= erasure.packs_of(conn, [each.id for each in found])
        erased += set_deletion.delete(ctx, found)
    return erased, packs


def _remove_now(ctx: Context, packs: Sequence[int] | None) -> tuple[list[int], Counter[str], Purged]:
    """Which of these packs are left, what was removed, and how the rewriting of the database ended."""
    from lightwell.stores.db.purge import purge
    from lightwell.work.collector import Collector

    collector = Collector(ctx.stores, ctx.settings, ctx.clock, ctx.ids)
    left = collector.remove_now(packs)
    return left, collector.removed, purge(ctx.stores.db, ctx.stores.spool)


def _other_packs(ctx: Context) -> int:
    """How many packs have bytes in the storage that no image set needs."""
    with ctx.stores.db.read() as conn:
        keys = erasure.unused_packs(conn)
    return sum(ctx.stores.objects.exists(pack_name(key)) for key in keys)


def _former(ctx: Context, places: list[DataStore], wanted: Wanted) -> tuple[list[SetId], list[SetId]]:
    """Image sets of others, an earlier version of which has the PatientID or the StudyInstanceUID; and those
    with an earlier version that cannot be read: damaged, or without its key.
    """
    found: dict[SetId, None] = {}
    unopened: dict[SetId, None] = {}
    stores = [store.key for store in places]
    ids = ((PATIENT, "PatientID", wanted.patient), (STUDY, "StudyInstanceUID", wanted.study))
    for number, key, value in ids:
        if value is None:
            continue
        with ctx.stores.db.read() as conn:
            for each in erasure.former_levels(conn, number, stores):
                if each.block is None:
                    unopened[SetId(each.datastore_id, each.image_set_id)] = None
                elif str(each.block.get(key, "")).strip() == value.strip():
                    found[SetId(each.datastore_id, each.image_set_id)] = None
    return list(found), list(unopened)


def _when(settings: Settings, report: dict[str, object], *, is_sqlite: bool) -> list[str]:
    packs, packed = report["packs"], report["packBytes"]
    assert isinstance(packs, int) and isinstance(packed, int)
    bytes_ = f"{counted(packs, 'pack')} with frames and originals, {size(packed)}"
    if not report["isRemoved"]:
        interval, grace = duration(settings.collect_interval), duration(settings.collect_grace)
        return [
            "no search and no request finds them from now on",
            f"attributes and UIDs leave the database within about {interval} while a server runs",
            f"bytes ({bytes_}) leave the storage after {grace}; `lightwell erase --now` removes them at once",
        ]
    lines = [f"attributes, UIDs and bytes ({bytes_}) are removed"]
    if report["isDatabaseRewritten"]:
        lines.append("the database was rewritten, so that its free pages hold nothing of them")
    elif is_sqlite:
        lines.append(
            "NOT rewritten: free pages of the database may hold some of it, since "
            f"{report['whyNotRewritten']}: {_HOW_TO_REWRITE}"
        )
    return lines


def _nothing(settings: Settings, *, is_now: bool) -> list[str]:
    """What to say where no image set was found: it may have been deleted before, and its bytes be there."""
    later = (
        f"bytes of what was deleted before leave the storage after {duration(settings.collect_grace)}; "
        "`lightwell erase --now`, without an ID, removes them at once"
    )
    return ["no image set has this ID", *([] if is_now else [later])]


def _warnings(settings: Settings, report: dict[str, object], *, has_ids: bool) -> list[str]:
    lines = []
    left, former = report["packsStillReferredTo"], report["inEarlierVersions"]
    unopened = report["earlierVersionsNotRead"]
    assert isinstance(left, list) and isinstance(former, list) and isinstance(unopened, list)
    if left:
        lines.append(
            f"NOT removed: {counted(len(left), 'pack')} of them, since other image sets refer to them, "
            "such as copies with another PatientID, or files of others with the same SeriesInstanceUID"
        )
    if former:
        ids = " ".join(each["imageSetId"] for each in former)
        lines.append(
            f"NOT erased: {counted(len(former), 'image set')} that had this ID in an earlier version. Look "
            f"(`lightwell sets show`), then delete what is to go: lightwell sets delete {ids}"
        )
    if unopened:
        ids = " ".join(each["imageSetId"] for each in unopened)
        lines.append(
            f"NOT looked at: earlier versions of {counted(len(unopened), 'image set')} that cannot be read, "
            f"which may have had this ID: {ids}. Run `lightwell data verify`"
        )
    if unused := report["otherUnusedPacks"]:
        assert isinstance(unused, int)
        lines.append(
            f"NOT removed: {counted(unused, 'other pack')} that no image set needs, of what was deleted "
            "before or of imports that run or were stopped; they leave the storage after "
            f"{duration(settings.collect_grace)}"
            + ("; `lightwell erase --now`, without an ID, removes what was deleted" if has_ids else "")
        )
    if report["hasRunningImports"]:
        lines.append("import jobs are running: what they bring stays, so erase again when they have ended")
    return lines


def _stays(ctx: Context) -> list[str]:
    return [*_STAYS, *(() if ctx.stores.db.dialect == "sqlite" else _STAYS_IN_POSTGRESQL)]
