"""``lightwell export``: image sets as DICOM Part 10 files, one folder per study, series and image set."""

from __future__ import annotations

import argparse
import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from lightwell import __version__
from lightwell.cli import command_trail, flags
from lightwell.cli.contents.export_folder import (
    RECORD,
    ExportFolder,
    NewFile,
    WrittenFile,
    read_record,
)
from lightwell.cli.contents.export_summary import ExportSummary, FailedInstance, Leftover
from lightwell.cli.contents.named_store import existing
from lightwell.cli.file_advice import advice
from lightwell.cli.progress import Progress
from lightwell.cli.store_session import local_context, store_session
from lightwell.cli.wording import counted
from lightwell.documents.file_names import file_name
from lightwell.domain.image_sets.edits import encode_edits
from lightwell.errors import DamagedError, InputError, LightwellError
from lightwell.stores.collector import removal
from lightwell.stores.image_sets import part10_instances

if TYPE_CHECKING:
    from lightwell.cli.contents.export_frames import FrameDecoder
    from lightwell.documents.export_syntax import ExportSyntax
    from lightwell.domain.datastore import DataStore
    from lightwell.operations.context import Context
    from lightwell.stores import Stores
    from lightwell.stores.image_sets.part10_instances import ReadableSet, StoredInstance

_SYNTAXES = ("original", "stored", "explicit")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        metavar="DIR",
        type=Path,
        help="folder to write to; created if missing. What an earlier export has written there completely, "
        "and is still the same, is not written again",
    )
    parser.add_argument("--datastore", required=True, help="name or ID of the data store")
    for flag, what in (("--patient", "the patient with this PatientID"), ("--study", "this study")):
        parser.add_argument(
            flag,
            metavar="ID" if flag == "--patient" else "UID",
            action="append",
            default=[],
            help=f"only image sets of {what}; may be given several times",
        )
    parser.add_argument(
        "--image-set",
        metavar="ID",
        action="append",
        default=[],
        help="only this image set; may be given several times [default: all]",
    )
    parser.add_argument(
        "--transfer-syntax",
        choices=_SYNTAXES,
        help="original: that of the import, with the very codestreams where they were kept; stored: as the "
        "frames lie in the store; explicit: decoded, Explicit VR Little Endian [default: frames that are "
        "kept as they came unchanged, all others decoded]",
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    flags.add(parser, (*flags.PLACES, "worker_memory", "file_timeout"))


def run(args: argparse.Namespace) -> int:
    from lightwell.cli.contents.export_frames import FrameDecoder
    from lightwell.documents.export_syntax import ExportSyntax

    settings = flags.settings(args)
    with store_session(settings, needs_objects=True) as stores:
        ctx = local_context(settings, stores)
        store = existing(ctx, args.datastore)
        sets = _chosen(ctx, store, args)
        summary = ExportSummary(args.folder, store.id, args.transfer_syntax, len(sets))
        decoder = FrameDecoder(stores, settings)
        wanted = ExportSyntax(args.transfer_syntax) if args.transfer_syntax else None
        quiet = args.json or not sys.stderr.isatty()
        status = None
        try:
            with Progress("exported", quiet=quiet) as bars:
                export = _Export(ctx, store, summary, decoder, wanted, bars)
                export.run(sets, total=None if quiet else _count(stores, sets))
        except KeyboardInterrupt:
            summary.ended, status = "Interrupted", 130
        except LightwellError as error:
            summary.ended = str(error)
        finally:
            decoder.close()
    if args.json:
        print(json.dumps(summary.as_json(), indent=2))
    elif summary.ended is None or summary.written or summary.unchanged:
        print(summary.as_text())
    if summary.failures and not args.json:
        print(summary.failures_as_text(), file=sys.stderr)
    if summary.ended is not None:
        complete = counted(summary.written + summary.unchanged, "file")
        print(
            f"lightwell: {summary.ended.rstrip('.')}. {complete} in {args.folder} are complete; the same "
            "command goes on from there",
            file=sys.stderr,
        )
    return status or summary.exit_code


def _chosen(ctx: Context, store: DataStore, args: argparse.Namespace) -> list[ReadableSet]:
    """The image sets that meet every kind of condition, and of each kind one. Raises `LightwellError` for a
    condition that none meets."""
    with ctx.stores.db.read() as conn:
        sets = part10_instances.readable_sets(conn, store.key)
    for keyword, values, flag in (
        ("image set", args.image_set, "--image-set"),
        ("study", args.study, "--study"),
        ("patient", args.patient, "--patient"),
    ):
        if not values:
            continue
        allowed: set[str] = set()
        for value in values:
            found = _matching(ctx, store, flag, value, sets)
            if not found:
                raise LightwellError(
                    f"There is no {keyword} {value} in data store {args.datastore}; without {flag}, all are "
                    "exported"
                )
            allowed |= found
        sets = [each for each in sets if each.id in allowed]
    if not sets and (args.image_set or args.study or args.patient):
        raise LightwellError("No image set meets all these conditions; leave one out to export more")
    return sets


def _matching(ctx: Context, store: DataStore, flag: str, value: str, sets: list[ReadableSet]) -> set[str]:
    if flag == "--image-set":
        return {each.id for each in sets if each.id == value}
    from lightwell.operations.search_image_sets import search_image_sets
    from lightwell.wire import shapes

    asked = (
        shapes.SearchByAttributeValue(dicom_patient_id=value)
        if flag == "--patient"
        else shapes.SearchByAttributeValue(dicom_study_instance_uid=value)
    )
    criteria = shapes.SearchCriteria(filters=[shapes.SearchFilter(values=[asked], operator="EQUAL")])
    found: set[str] = set()
    token: str | None = None
    while True:
        page = search_image_sets(
            ctx,
            shapes.SearchImageSetsRequest(
                datastore_id=store.id, search_criteria=criteria, max_results=50, next_token=token
            ),
        )
        found |= {each.image_set_id for each in page.image_sets_metadata_summaries}
        token = page.next_token
        if token is None:
            return found


def _count(stores: Stores, sets: list[ReadableSet]) -> int:
    with stores.db.read() as conn:
        return sum(part10_instances.count(conn, each.key, each.version) for each in sets)


class _Export:
    """One run. What cannot be written to the folder raises `LightwellError`."""

    def __init__(
        self,
        ctx: Context,
        store: DataStore,
        summary: ExportSummary,
        decoder: FrameDecoder,
        wanted: ExportSyntax | None,
        bars: Progress,
    ) -> None:
        self._stores = ctx.stores
        self._settings = ctx.settings
        self._store = store
        self._summary = summary
        self._decoder = decoder
        self._wanted = wanted
        self._bars = bars
        self._done = 0

    def run(self, sets: list[ReadableSet], *, total: int | None) -> None:
        places: dict[str, Path] = {}
        for image_set in sets:
            place = (
                self._summary.folder
                / file_name(image_set.study_instance_uid)
                / file_name(image_set.series_instance_uid)
                / image_set.id
            )
            with self._stores.db.read() as conn:
                # The set may have been deleted while others were exported, and its rows may be gone.
                if not removal.is_active(conn, image_set.key):
                    self._bars.say(f"lightwell: image set {image_set.id} was deleted in the meantime")
                    continue
                instances = part10_instances.instances(conn, image_set.key, image_set.version)
            places[image_set.id] = place
            self._on_record(image_set)
            try:
                self._export_set(image_set, instances, place, total)
            except OSError as error:
                raise _cannot_write(place, error) from error
        self._find_leftovers(places)

    def _on_record(self, image_set: ReadableSet) -> None:
        command = command_trail.current()
        if command is not None:
            study, series = image_set.study_instance_uid, image_set.series_instance_uid
            command.got_on(self._settings)
            command.note.saw(image_set.id, image_set.patient_id, study, series)

    def _export_set(
        self, image_set: ReadableSet, instances: list[StoredInstance], place: Path, total: int | None
    ) -> None:
        folder = ExportFolder(place, self._store.id, image_set.id)
        names = set()
        for instance in instances:
            name = f"{file_name(instance.sop_instance_uid)}.dcm"
            names.add(name)
            try:
                self._export_instance(folder, name, instance)
            except (InputError, DamagedError) as error:
                self._summary.failures.append(
                    FailedInstance(image_set.id, instance.sop_instance_uid, str(error))
                )
            self._done += 1
            self._bars.show("exported", self._done, total)
        removed, changed = folder.finish(names)
        self._summary.removed += removed
        for name in changed:
            reason = "the image set has no such instance any more, and the file was changed since"
            self._summary.leftovers.append(Leftover(image_set.id, place / name, reason))

    def _export_instance(self, folder: ExportFolder, name: str, instance: StoredInstance) -> None:
        summary, source = self._summary, _source(instance, self._wanted)
        line = folder.complete(name, source)
        if line is not None:
            summary.unchanged += 1
        else:
            line = self._write(folder, name, source, instance)
            summary.written += 1
            summary.bytes += line.size
        summary.syntaxes[line.syntax] += 1
        summary.frames[line.frames] += 1
        if line.note:
            summary.notes[line.note] += 1

    def _write(self, folder: ExportFolder, name: str, source: str, instance: StoredInstance) -> WrittenFile:
        from lightwell.documents.export_syntax import attempts

        refused: InputError | None = None
        for attempt in attempts(instance, self._wanted):
            try:
                file = attempt.open(self._stores, instance, self._decoder.decode, self._decoder.decode_nested)
                return folder.write(
                    name, source, NewFile(file.syntax, file.pieces, attempt.frames, attempt.note)
                )
            except InputError as error:
                refused = refused or error
        assert refused is not None, "there is at least one way to write it"
        raise refused

    def _find_leftovers(self, places: dict[str, Path]) -> None:
        """Folders that earlier exports of this data store wrote, and that no export writes like that now."""
        known: dict[str, ReadableSet] | None = None
        for record in sorted(self._summary.folder.glob(f"*/*/*/{RECORD}")):
            place, head = record.parent, read_record(record)[0]
            image_set = str(head.get("imageSet"))
            if head.get("datastore") != self._store.id or places.get(image_set) == place:
                continue
            if known is None:
                with self._stores.db.read() as conn:
                    sets = part10_instances.readable_sets(conn, self._store.key)
                known = {each.id: each for each in sets}
            now = known.get(image_set)
            if now is None:
                reason = "the image set was deleted since"
            elif (place.parent.parent.name, place.parent.name) == (
                file_name(now.study_instance_uid),
                file_name(now.series_instance_uid),
            ):
                continue  # not asked for this time
            else:
                reason = "the image set is in another study or series now"
            self._summary.leftovers.append(Leftover(image_set, place, reason))


def _source(instance: StoredInstance, wanted: ExportSyntax | None) -> str:
    """Stands for all that decides what is in the file of an instance.

    Records and pixels never change. Another version of lightwell may write the same otherwise.
    """
    pixels = instance.pixels.key if instance.pixels else None
    parts = __version__, str(wanted), instance.record, instance.pack, instance.offset, pixels
    return sha256(repr(parts).encode() + encode_edits(instance.edits)).hexdigest()[:32]


def _cannot_write(place: Path, error: OSError) -> LightwellError:
    what = advice(error)
    if "another folder" not in what:
        what += ", or use another folder"
    return LightwellError(f"Cannot write to {error.filename or place}: {error.strerror}; {what}")
