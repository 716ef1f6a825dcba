"""``lightwell export``: DICOM Part 10 files out again, one folder a study and a series."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from hashlib import blake2s
from pathlib import Path

from lightwell.cli import flags
from lightwell.cli.importing import find
from lightwell.cli.store_session import local_context, opened
from lightwell.domain.datastore import ACTIVE
from lightwell.errors import DamagedError, InputError, LightwellError
from lightwell.stores import Stores
from lightwell.stores.account import datastores
from lightwell.stores.collector import removal
from lightwell.stores.image_sets import part10_instances
from lightwell.stores.image_sets.part10_instances import ReadableSet, StoredInstance

_SAFE = re.compile(r"[0-9](?:[0-9.]{0,126}[0-9])?", re.ASCII)
_UNSAFE = re.compile(r"[^0-9A-Za-z._-]")
_SHOWN = 5  # names of data stores in a message


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help="where to write; made if it is missing")
    parser.add_argument("--datastore", required=True, help="name or id")
    parser.add_argument("--image-set", metavar="ID", help="only this image set [all]")
    flags.add(parser, flags.PLACES)


def run(args: argparse.Namespace) -> int:
    settings = flags.settings(args)
    with opened(settings) as stores:
        store = find(local_context(settings, stores), args.datastore)
        if store is None:
            raise LightwellError(f"There is no data store {args.datastore}: {_there_are(stores)}")
        with stores.db.read() as conn:
            sets = part10_instances.readable_sets(conn, store.key, args.image_set)
        if args.image_set and not sets:
            raise LightwellError(
                f"There is no image set {args.image_set} in data store {args.datastore}; without --image-set "
                "all are exported"
            )
        written = failed = 0
        for image_set in sets:
            done, not_done = _export(stores, image_set, args.folder)
            written, failed = written + done, failed + not_done
    print(f"{written} files of {len(sets)} image sets written to {args.folder}")
    return 1 if failed else 0


def _there_are(stores: Stores) -> str:
    """The names of the first data stores that can be exported, for who has named another."""
    with stores.db.read() as conn:
        found = datastores.page(conn, status=ACTIVE, after=None, limit=_SHOWN + 1)
    names = ", ".join(store.name or store.id for store in found[:_SHOWN])
    if not names:
        return "there are none yet; `lightwell import` makes one"
    return f"there {'is' if len(found) == 1 else 'are'} {names}{' and others' if len(found) > _SHOWN else ''}"


def _export(stores: Stores, image_set: ReadableSet, folder: Path) -> tuple[int, int]:
    """Write the instances of one set; answers how many were written, and how many could not be."""
    place = folder / _name(image_set.study_instance_uid) / _name(image_set.series_instance_uid) / image_set.id
    with stores.db.read() as conn:
        # A set may be deleted while others are exported, and its rows may be gone already.
        if not removal.is_active(conn, image_set.key):
            print(f"lightwell: image set {image_set.id} has been deleted meanwhile", file=sys.stderr)
            return 0, 0
        instances = part10_instances.instances(conn, image_set.key, image_set.version)
    try:
        place.mkdir(parents=True, exist_ok=True)
        return _write(stores, instances, place)
    except OSError as error:
        raise LightwellError(
            f"{place} cannot be written: {error.strerror}; name another folder, or check its owner and the "
            "room on its disk. Files that are there already are whole"
        ) from error


def _write(stores: Stores, instances: Sequence[StoredInstance], place: Path) -> tuple[int, int]:
    """Write them into the folder ``place``; answers how many were written, and how many could not be."""
    from lightwell.documents.part10_files import write_instance

    failed = 0
    for instance in instances:
        target = place / f"{_name(instance.sop_instance_uid)}.dcm"
        # Under another name until it is whole: a file with its own name can be trusted.
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
    """A UID as a file name: they come from files and may hold anything. Others get a name of their own."""
    if _SAFE.fullmatch(uid):
        return uid
    digest = blake2s(uid.encode("utf-8", "replace"), digest_size=8).hexdigest()
    return f"{_UNSAFE.sub('_', uid).strip('.')[:100]}-{digest}"
