"""Permissions of the stored files:

only the user who runs lightwell may read them. Files are 0600, folders 0700.

New files are created that way whatever the umask: the command line sets a closed one, and files that matter
are created with their mode. This module handles what older versions and other programs have left too open:
it is restricted if lightwell made it and owns it, and reported otherwise. Buckets belong to their user: of
their content only lightwell's own reports are restricted.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lightwell.stores.db.drivers import sqlite_path
from lightwell.stores.objects.open import local_root

OTHERS = 0o077
# What lightwell makes in its data folder. If there are other files in it, its mode may be on purpose.
_OURS = re.compile(
    r"\.?(lightwell\.db|credentials|secret\.key|node\.id|audit\.key|events\.ndjson|serve\.lock|engine\.lock|pool\.lock|work\.sock).*"
    r"|check-.*"
)
_FOLDERS = ("objects", "documents", "spool", "audit")
# And in a folder of objects elsewhere, which may hold other files too.
_STORED = ("packs", "checks", ".tmp", "storage.id")
_THEIRS = ("buckets", "authorizers", "lightwell.toml", "lost+found")


class StoragePaths(Protocol):
    """The settings that say where files are kept."""

    @property
    def data(self) -> Path: ...
    @property
    def database(self) -> str: ...
    @property
    def storage(self) -> str: ...
    @property
    def buckets(self) -> Path: ...


@dataclass(frozen=True, slots=True)
class ExposedPath:
    """A file or folder that others could read; ``mode`` is the one it had, ``owner`` a user id."""

    path: Path
    mode: int
    owner: int
    is_restricted: bool


def restrict(settings: StoragePaths) -> list[ExposedPath]:
    """Restrict the data folder and what lies directly in it, and so all below it;

    returns what was exposed.
    """
    return [found for path in own_paths(settings) if (found := _close(path)) is not None]


def restrict_all(settings: StoragePaths, reports: Iterable[Path]) -> list[ExposedPath]:
    """As `restrict`, for every stored file and for the folders ``reports``. Looks at each file."""
    found = restrict(settings)
    data, root = settings.data.absolute(), local_root(settings.storage)
    below = [data / name for name in _FOLDERS]
    if root is not None and root.absolute() != data / "objects":
        below += [root.absolute() / name for name in _STORED]
    for folder in {*below, *reports}:
        found += [one for path in _below(folder) if (one := _close(path)) is not None]
    return found


def own_paths(settings: StoragePaths) -> Iterator[Path]:
    """The data folder, unless it holds other files too, and what lightwell has made directly in it.

    The same for a database and for objects that lie elsewhere.
    """
    data = settings.data.absolute()
    names = _names(data)
    ours = [name for name in names if name in _FOLDERS or _OURS.fullmatch(name)]
    if set(names) <= {*ours, *_THEIRS}:
        yield data
    for name in ours:
        yield data / name
    if settings.database.startswith("sqlite:"):
        database = sqlite_path(settings.database).absolute()
        if database.parent != data:
            yield from (database.with_name(database.name + end) for end in ("", "-wal", "-shm", "-journal"))
    root = local_root(settings.storage)
    if root is not None and root.absolute() != data / "objects":
        stored = _names(root.absolute())
        if set(stored) <= set(_STORED):
            yield root.absolute()
        yield from (root.absolute() / name for name in stored if name in _STORED)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder))
    except OSError:
        return []


def _below(folder: Path) -> Iterator[Path]:
    yield folder
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _below(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                yield Path(entry.path)


def _close(path: Path) -> ExposedPath | None:
    """Take all permissions from others; None if they had none. A link of another user is not followed."""
    try:
        if path.lstat().st_uid not in (os.geteuid(), 0) and path.is_symlink():
            return None
        status = path.stat()
    except OSError:
        return None
    mode = stat.S_IMODE(status.st_mode)
    if not mode & OTHERS:
        return None
    is_restricted = False
    if status.st_uid == os.geteuid():
        with suppress(OSError):
            path.chmod(mode & ~OTHERS)
            is_restricted = True
    return ExposedPath(path, mode, status.st_uid, is_restricted)
