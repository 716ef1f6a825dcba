"""``lightwell sets list|show|delete|diff``: image sets, and what changed between their versions."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lightwell.cli import command_trail, flags
from lightwell.cli.store_session import local_context, store_session
from lightwell.cli.wording import counted, moment, printable
from lightwell.domain.image_sets.image_set import Version
from lightwell.domain.image_sets.levels import LEVEL_NAMES
from lightwell.domain.image_sets.version_diff import (
    ABSENT,
    ChangeKind,
    ElementDifference,
    FramesDifference,
    InstanceDifference,
    SetDifference,
)
from lightwell.errors import ConfigurationError
from lightwell.observe.audit.note import AuditNote

if TYPE_CHECKING:
    from lightwell.settings import Settings
    from lightwell.stores import Stores

_LONGEST_VALUE = 100
_MOST_FRAMES = 5
_SIGNS = {ChangeKind.ADDED: "+", ChangeKind.REMOVED: "-", ChangeKind.REPLACED: "~", ChangeKind.CHANGED: "~"}


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list image sets, the last changed first", allow_abbrev=False)
    _add_search(listing)
    listing.add_argument("--modality", metavar="M", help="only of this modality, such as CT")
    listing.add_argument("--limit", metavar="N", type=flags.count, help="at most so many [default: all]")
    listing.add_argument("--json", action="store_true", help="print a JSON array")
    show = actions.add_parser("show", help="show an image set and its versions", allow_abbrev=False)
    show.add_argument("id", metavar="ID", help="image set ID")
    show.add_argument("--json", action="store_true", help="print one JSON object")
    delete = actions.add_parser(
        "delete", help="delete image sets, primary or not, with all their versions", allow_abbrev=False
    )
    delete.add_argument("ids", metavar="ID", nargs="*", help="image set ID")
    _add_search(delete)
    delete.add_argument(
        "--all", action="store_true", help="with --datastore: all image sets of that data store"
    )
    delete.add_argument("--yes", action="store_true", help="with --patient, --study or --all: do not ask")
    delete.add_argument("--json", action="store_true", help="print a JSON array of what was deleted")
    diff = actions.add_parser("diff", help="compare two versions, element by element", allow_abbrev=False)
    diff.add_argument("id", metavar="ID", help="image set ID")
    diff.add_argument("first", metavar="V1", type=_version, help="older version")
    diff.add_argument("second", metavar="V2", type=_version, help="newer version")
    diff.add_argument("--json", action="store_true", help="print one JSON object with complete values")
    for action in (listing, show, delete, diff):
        flags.add(action, flags.PLACES)


def _add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--datastore", metavar="NAME", help="name or ID of the data store [default: all]")
    parser.add_argument("--patient", metavar="ID", help="only with this PatientID")
    parser.add_argument("--study", metavar="UID", help="only with this StudyInstanceUID")


def run(args: argparse.Namespace) -> int:
    settings = flags.settings(args)
    with store_session(settings) as stores:
        if args.action == "diff":
            return _diff(settings, stores, args)
        from lightwell.cli.contents import named_store, set_deletion, set_listing

        ctx = local_context(settings, stores)
        if args.action == "show":
            return set_listing.show(ctx, args.id, as_json=args.json)
        if args.action == "delete" and args.ids:
            given = (args.patient, args.study, args.datastore)
            if args.all or any(value is not None for value in given):
                raise ConfigurationError(
                    "Give either image set IDs or what to search for (--patient, --study, --all), not both"
                )
            return set_deletion.delete_by_id(ctx, args.ids, as_json=args.json)
        wanted = set_listing.Wanted(args.patient, args.study, getattr(args, "modality", None))
        if args.action == "delete":
            _check_chosen(args, has_ids=wanted != set_listing.Wanted())
        places = named_store.chosen(ctx, args.datastore)
        if args.action == "delete":
            # On record is what is deleted, not what was looked for.
            ctx = replace(ctx, note=AuditNote())
        if args.action == "delete" and args.all:
            return set_deletion.delete_store(ctx, places[0], is_sure=args.yes, as_json=args.json)
        found = set_listing.search(ctx, places, wanted)
        if args.action == "list":
            return set_listing.print_list(
                found, limit=args.limit, as_json=args.json, with_store=len(places) > 1
            )
        return set_deletion.delete_found(ctx, found, is_sure=args.yes, as_json=args.json)


def _check_chosen(args: argparse.Namespace, *, has_ids: bool) -> None:
    """That a command says clearly which sets to delete. ``has_ids``: by those of patients or studies."""
    # Most likely of a variable that is not set; it would be all sets without this ID.
    for value in (args.patient, args.study):
        if value is not None and not value.replace("\0", "").strip():
            raise ConfigurationError("Give a PatientID or StudyInstanceUID that is not empty")
    if not args.all and not has_ids:
        raise ConfigurationError(
            "Say what to delete: image set IDs, --patient, --study, or --datastore NAME --all for all image "
            "sets of a data store"
        )
    if args.all and has_ids:
        raise ConfigurationError("Give either --all or what to search for (--patient, --study), not both")
    if args.all and args.datastore is None:
        raise ConfigurationError("Say of which data store to delete all image sets: --datastore NAME --all")


def _note(stores: Stores, found: SetDifference, settings: Settings) -> None:
    """Whom both versions are about, which may be two patients."""
    from lightwell.documents.identity import identity_of_version
    from lightwell.stores.image_sets import lookups

    command = command_trail.current()
    if command is None:
        return
    command.goes_to(settings, found.datastore_id)
    with stores.db.read() as conn:
        place = lookups.find(conn, found.image_set_id)
        assert place is not None, "its versions were compared"
        for version in (found.first, found.second):
            command.note.saw(*identity_of_version(conn, place[1].key, version))


def _diff(settings: Settings, stores: Stores, args: argparse.Namespace) -> int:
    from lightwell.operations.version_diff import diff_versions

    found = diff_versions(stores, args.id, args.first, args.second)
    _note(stores, found, settings)
    if args.json:
        print(json.dumps(_as_json(found), indent=2, ensure_ascii=False))
    else:
        for line in _lines(found):
            print(printable(line))
    return 0


def _version(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a version number; versions count from 1")
    return int(text)


def _as_json(found: SetDifference) -> dict[str, object]:
    return {
        "datastoreId": found.datastore_id,
        "imageSetId": found.image_set_id,
        "oldVersionId": str(found.first),
        "newVersionId": str(found.second),
        "versions": [
            {
                "versionId": str(version.number),
                "workflowStatus": version.workflow_status,
                "caller": version.caller,
                "createdAt": moment(version.created_at),
                **({"forced": version.forced} if version.forced is not None else {}),
                **({"message": version.message} if version.message is not None else {}),
            }
            for version in found.versions
        ],
        "levels": {
            LEVEL_NAMES[level.level]: {
                "version": level.version,
                "elements": [element.as_json() for element in level.elements],
            }
            for level in found.levels
        },
        "instances": [instance.as_json() for instance in found.instances],
        "instancesUnchanged": found.same,
    }


def _lines(found: SetDifference) -> Iterator[str]:
    yield f"image set {found.image_set_id}, version {found.first} → {found.second}"
    if found.versions:
        yield ""
    for version in found.versions:
        yield from _version_lines(version)
    if found.empty:
        yield ""
        yield "no differences in attributes, instances or frames"
        return
    for level in found.levels:
        yield ""
        yield f"{LEVEL_NAMES[level.level]}{_in_version(level.version)}"
        yield from _element_lines(level.elements, "  ")
    yield ""
    counts = [
        f"{number} {kind}"
        for kind in (ChangeKind.ADDED, ChangeKind.REMOVED, ChangeKind.REPLACED, ChangeKind.CHANGED)
        if (number := sum(each.kind == kind for each in found.instances))
    ]
    yield f"Instances: {', '.join([*counts, f'{found.same} unchanged'])}"
    for instance in found.instances:
        yield from _instance_lines(instance)


def _version_lines(version: Version) -> Iterator[str]:
    forced = "  forced" if version.forced else ""
    yield (
        f"  version {version.number}  {moment(version.created_at)}  {version.workflow_status}  "
        f"{version.caller}{forced}"
    )
    if version.message is not None:
        yield f"    {version.message}"


def _instance_lines(instance: InstanceDifference) -> Iterator[str]:
    uid = instance.new_uid or instance.old_uid
    if instance.old_uid and instance.new_uid and instance.old_uid != instance.new_uid:
        uid = f"{instance.old_uid} → {instance.new_uid}"
    number = "" if instance.number is None else f"  InstanceNumber {instance.number}"
    yield f"  {_SIGNS[instance.kind]} {uid}{number}  {instance.kind}{_in_version(instance.version)}"
    yield from _element_lines(instance.elements, "      ")
    if instance.frames is not None:
        yield from _frame_lines(instance.frames, "      ")


def _element_lines(elements: Sequence[ElementDifference], indent: str) -> Iterator[str]:
    width = max((len(element.path) for element in elements), default=0)
    for element in elements:
        vr = element.new_vr or element.old_vr
        if element.old_vr and element.new_vr and element.old_vr != element.new_vr:
            vr = f"{element.old_vr} → {element.new_vr}"
        head = f"{element.path:{width}}  {vr or '--'}"
        if element.old is ABSENT:
            yield f"{indent}+ {head}  {_value(element.new)}"
        elif element.new is ABSENT:
            yield f"{indent}- {head}  {_value(element.old)}"
        else:
            yield f"{indent}~ {head}  {_value(element.old)} → {_value(element.new)}"


def _frame_lines(frames: FramesDifference, indent: str) -> Iterator[str]:
    count = counted(frames.new, "frame")
    if frames.old != frames.new:
        count = f"{frames.old:,} → {count}"
    if not frames.differing:
        yield f"{indent}pixel data replaced: {count}, all identical"
        return
    yield f"{indent}pixel data replaced: {count}, {len(frames.differing)} differ"
    for frame in frames.differing[:_MOST_FRAMES]:
        yield f"{indent}  frame {frame.number}: CRC-32 {_crc(frame.old)} → {_crc(frame.new)}"
    if len(frames.differing) > _MOST_FRAMES:
        yield f"{indent}  and {len(frames.differing) - _MOST_FRAMES} more; --json lists them"


def _in_version(number: int | None) -> str:
    return "" if number is None else f", in version {number}"


def _crc(checksum: int | None) -> str:
    return "none" if checksum is None else f"{checksum:08x}"


def _value(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}… ({len(text)} characters)"
