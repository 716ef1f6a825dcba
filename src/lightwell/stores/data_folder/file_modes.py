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
    r"\.?(lightwell\.db|credentials|(secret|encryption|audit)\.key|node\.id|events\.ndjson|console\.html"
    r"|(serve|engine|pool|check)\.lock|(work|wake)\.sock).*"
    r"|\.console.*|check-.*|etilqs_.*"
)
_FOLDERS = ("objects", "documents", "spool", "audit", "cache")
# And in a folder of objects elsewhere, which may hold other files too.
_STORED = ("packs", "checks", ".tmp", "storage.id")
# What is not lightwell's to close: its user's, and a viewer, which holds nothing of patients.
_THEIRS = re.compile(r"buckets|authorizers|lightwell\.toml|lost\+found|\.?ohif(-.*)?")


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
    ours = [name for name in _names(data) if _is_ours(name)]
    if not unknown_names(data):
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


def unknown_names(data: Path) -> list[str]:
    """What lies in a data folder that lightwell does not know, and that keeps it from closing the folder."""
    return [name for name in _names(data) if not _is_ours(name) and not _THEIRS.fullmatch(name)]


def _is_ours(name: str) -> bool:
    return name in _FOLDERS or _OURS.fullmatch(name) is not None


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
