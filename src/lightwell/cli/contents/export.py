"""``lightwell export``: image sets as DICOM Part 10 files, one folder per study and series."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from hashlib import blake2s
from pathlib import Path

from lightwell.cli import flags
from lightwell.cli.contents.named_store import existing
from lightwell.cli.store_session import local_context, store_session
from lightwell.cli.wording import counted
from lightwell.errors import DamagedError, InputError, LightwellError
from lightwell.stores import Stores
from lightwell.stores.collector import removal
from lightwell.stores.image_sets import part10_instances
from lightwell.stores.image_sets.part10_instances import ReadableSet, StoredInstance

_SAFE = re.compile(r"[0-9](?:[0-9.]{0,126}[0-9])?", re.ASCII)
_UNSAFE = re.compile(r"[^0-9A-Za-z._-]")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder to write to; created if missing")
    parser.add_argument("--datastore", required=True, help="name or ID of the data store")
    parser.add_argument("--image-set", metavar="ID", help="export only this image set [default: all]")
    flags.add(parser, flags.PLACES)


def run(args: argparse.Namespace) -> int:
    settings = flags.settings(args)
    with store_session(settings) as stores:
        store = existing(local_context(settings, stores), args.datastore)
        with stores.db.read() as conn:
            sets = part10_instances.readable_sets(conn, store.key, args.image_set)
        if args.image_set and not sets:
            raise LightwellError(
                f"There is no image set {args.image_set} in data store {args.datastore}; leave out "
                "--image-set to export all"
            )
        written = failed = 0
        for image_set in sets:
            done, not_done = _export(stores, image_set, args.folder)
            written, failed = written + done, failed + not_done
    print(f"{counted(written, 'file')} of {counted(len(sets), 'image set')} written to {args.folder}")
    return 1 if failed else 0


def _export(stores: Stores, image_set: ReadableSet, folder: Path) -> tuple[int, int]:
    """Write the instances of one set; returns how many were written and how many failed."""
    place = folder / _name(image_set.study_instance_uid) / _name(image_set.series_instance_uid) / image_set.id
    with stores.db.read() as conn:
        # The set may have been deleted while others were exported, and its rows may be gone.
        if not removal.is_active(conn, image_set.key):
            print(f"lightwell: image set {image_set.id} was deleted in the meantime", file=sys.stderr)
            return 0, 0
        instances = part10_instances.instances(conn, image_set.key, image_set.version)
    try:
        place.mkdir(parents=True, exist_ok=True)
        return _write(stores, instances, place)
    except OSError as error:
        raise LightwellError(
            f"Cannot write to {place}: {error.strerror}; use another folder, or check its owner and the free "
            "disk space. Files already exported are complete"
        ) from error


def _write(stores: Stores, instances: Sequence[StoredInstance], place: Path) -> tuple[int, int]:
    """Write them to the folder ``place``; returns how many were written and how many failed."""
    from lightwell.documents.part10_files import write_instance

    failed = 0
    for instance in instances:
        target = place / f"{_name(instance.sop_instance_uid)}.dcm"
        # Under a temporary name until it is complete: a file under its final name can be trusted.
        unfinished = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with unfinished.open("wb") as out:
                write_instance(stores, instance, out)
            unfinished.replace(target)
        except (InputError, DamagedError) as error:
            failed += 1
            print(f"lightwell: {instance.sop_instance_uid}: {error}", file=sys.stderr)
        finally:
            unfinished.unlink(missing_ok=True)
    return len(instances) - failed, failed


def _name(uid: str) -> str:
    """A file name for a UID. UIDs come from files and may hold anything; unsafe ones get a derived name."""
    if _SAFE.fullmatch(uid):
        return uid
    digest = blake2s(uid.encode("utf-8", "replace"), digest_size=8).hexdigest()
    return f"{_UNSAFE.sub('_', uid).strip('.')[:100]}-{digest}"
