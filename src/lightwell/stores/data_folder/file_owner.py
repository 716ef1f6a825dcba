"""Owners of the stored files: if another user writes beside them, their owner cannot read the result."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lightwell.stores.data_folder import file_modes
from lightwell.stores.db.drivers import sqlite_path
from lightwell.stores.objects.open import local_root


def other_owner(settings: file_modes.StoragePaths) -> tuple[Path, int] | None:
    """The database file or folder of objects that another user owns, and the id of that user.

    None if both are this user's, do not exist yet or are not files. Even reading an SQLite database creates
    files beside it, so this goes for commands that only read, too.
    """
    database = settings.database
    for path in (
        sqlite_path(database).absolute() if database.startswith("sqlite:") else None,
        local_root(settings.storage),
    ):
        found = None if path is None else _owner(path.absolute())
        if found is not None and found[1] != os.geteuid():
            return found
    return None


def untrusted_path(settings: file_modes.StoragePaths) -> tuple[Path, int] | None:
    """A path that lightwell would use as its own, but neither this user nor root owns; and its owner's id.

    A link belongs to the user who made it, wherever it leads: lightwell would write to its target and
    restrict it. The data folder itself, and in it the buckets and authorizers, may be another user's, unless
    they are links.
    """
    data, trusted = settings.data.absolute(), (os.geteuid(), 0)
    root = local_root(settings.storage)
    # Browsers obey the viewer as they obey lightwell.
    own = (data / "ohif", *file_modes.own_paths(settings))
    theirs = (data, data / "buckets", data / "authorizers")
    for path in (*theirs, *([] if root is None else [root.absolute()]), *own):
        try:
            status = path.lstat()
        except OSError:
            continue
        if status.st_uid not in trusted and (path not in theirs or stat.S_ISLNK(status.st_mode)):
            return path, status.st_uid
    return None


def foreign_files(settings: file_modes.StoragePaths) -> list[Path]:
    """Files directly in the data folder that lightwell made and another user owns."""
    data, me = settings.data.absolute(), os.geteuid()
    return [
        path
        for path in file_modes.own_paths(settings)
        if path != data and (found := _owner(path)) is not None and found[1] != me
    ]


def _owner(path: Path) -> tuple[Path, int] | None:
    try:
        return path, path.stat().st_uid
    except FileNotFoundError:
        return None
    except PermissionError:
        # A folder above is closed to this user; its owner tells as much.
        return _owner(path.parent)
    except OSError:
        return None  # opening it will say more
