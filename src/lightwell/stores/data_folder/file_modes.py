"""Who may read what is kept: the user alone who runs lightwell. Files are 0600 and folders 0700.

New files are made so, whatever the umask: the command line closes it, and what matters is made with its mode.
Here is what older versions and other hands have left too open. It is closed where lightwell made and owns it,
and told where not. Buckets are their user's: of what lies in them only lightwell's own reports are closed.
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
# What lightwell makes in its data folder. Who keeps other things beside may have a reason for its mode.
_OURS = re.compile(
    r"\.?(lightwell\.db|credentials|secret\.key|node\.id|events\.ndjson|serve\.lock|engine\.lock|work\.sock).*"
    r"|check-.*"
)
_FOLDERS = ("objects", "documents", "spool")
# And in a folder of objects elsewhere, in which a person may keep other things, too.
_STORED = ("packs", "checks", ".tmp")
_THEIRS = ("buckets", "authorizers", "lightwell.toml", "lost+found")


class Places(Protocol):
    """What of the settings says where things are."""

    @property
    def data(self) -> Path: ...
    @property
    def database(self) -> str: ...
    @property
    def storage(self) -> str: ...
    @property
    def buckets(self) -> Path: ...


@dataclass(frozen=True, slots=True)
class Open:
    """What others could read; ``mode`` is the one that it had, ``owner`` a user id."""

    path: Path
    mode: int
    owner: int
    is_mended: bool


def mend(settings: Places) -> list[Open]:
    """Close the data folder and what lies directly in it, which closes all that is below; what was open."""
    return [found for path in kept(settings) if (found := _close(path)) is not None]


def mend_all(settings: Places, reports: Iterable[Path]) -> list[Open]:
    """As `mend`, for all that is kept and for the folders ``reports``. Looks at each file that there is."""
    found = mend(settings)
    data, root = settings.data.absolute(), local_root(settings.storage)
    below = [data / name for name in _FOLDERS]
    if root is not None and root.absolute() != data / "objects":
        below += [root.absolute() / name for name in _STORED]
    for folder in {*below, *reports}:
        found += [one for path in _below(folder) if (one := _close(path)) is not None]
    return found


def kept(settings: Places) -> Iterator[Path]:
    """The data folder, unless it holds other things too, and what lightwell has made directly in it; and so
    for database and objects that lie elsewhere.
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


def _close(path: Path) -> Open | None:
    """Take from others what they may; None if that was nothing. A link of another user is not followed."""
    try:
        if path.lstat().st_uid not in (os.geteuid(), 0) and path.is_symlink():
            return None
        status = path.stat()
    except OSError:
        return None
    mode = stat.S_IMODE(status.st_mode)
    if not mode & OTHERS:
        return None
    is_mended = False
    if status.st_uid == os.geteuid():
        with suppress(OSError):
            path.chmod(mode & ~OTHERS)
            is_mended = True
    return Open(path, mode, status.st_uid, is_mended)
