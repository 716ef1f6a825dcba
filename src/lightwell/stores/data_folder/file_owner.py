"""Whose the stored files are. What another user writes beside them, their owner could not read again."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lightwell.stores.data_folder import file_modes
from lightwell.stores.db.drivers import sqlite_path
from lightwell.stores.objects.open import local_root


def other_owner(settings: file_modes.StoragePaths) -> tuple[Path, int] | None:
    """The database file or the folder of objects that is another user's, and the id of that user.

    None where both are this user's, or not there yet, or no files. Even a reader of a SQLite database makes
    files beside it, so it is the same for verbs that only read.
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
    """What lightwell would use as its own, of a user other than this one and root, and the id of that user.

    A link is theirs who made it, wherever it leads: lightwell would write its target, and close it to others.
    The data folder itself may be another user's, as long as it is no link.
    """
    data, trusted = settings.data.absolute(), (os.geteuid(), 0)
    root = local_root(settings.storage)
    for path in (data, *([] if root is None else [root.absolute()]), *file_modes.own_paths(settings)):
        try:
            status = path.lstat()
        except OSError:
            continue
        if status.st_uid not in trusted and (path != data or stat.S_ISLNK(status.st_mode)):
            return path, status.st_uid
    return None


def foreign_files(settings: file_modes.StoragePaths) -> list[Path]:
    """What lies directly in the data folder, was made by lightwell and is another user's."""
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
        # A folder above is closed to this user; who owns that one says as much.
        return _owner(path.parent)
    except OSError:
        return None  # opening it says more
