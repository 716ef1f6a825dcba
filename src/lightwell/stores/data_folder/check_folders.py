"""Folders of dry runs (``lightwell import --check``) in the data folder: each a data folder of its own.

Each is locked by the process that uses it. What one that was killed has left is removed by whoever opens the
data folder next: it holds, readable or beside its key, what the files of the dry run say of patients.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lightwell.stores.data_folder.process_lock import locked

_PREFIX = "check-"
# No folder without it is removed, whatever its name: it may be a user's.
LOCK = "check.lock"


@contextlib.contextmanager
def check_folder(data: Path) -> Iterator[Path]:
    """A new folder, mode 0700, removed at the end; first those that others have left. Raises `OSError`."""
    sweep(data)
    folder, fd = _make(data)
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):  # the next sweep removes what is left
            _remove(folder)
        os.close(fd)


def sweep(data: Path) -> int:
    """Remove the folders of processes that have ended. Returns how many. May run during dry runs."""
    removed = 0
    for path in data.glob(f"{_PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError), locked(path):
            if not path.parent.is_symlink():
                _remove(path.parent)
                removed += 1
    return removed


def _make(data: Path) -> tuple[Path, int]:
    """The folder and the descriptor that keeps it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=data))
        fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # A sweep between the calls may have removed it.
        if _take(fd) and (folder / LOCK).exists():
            return folder, fd
        os.close(fd)


def _remove(folder: Path) -> None:
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        elif entry.name != LOCK:
            Path(entry.path).unlink()
    # Last: without it no sweep would remove the rest, if this is interrupted.
    (folder / LOCK).unlink(missing_ok=True)
    folder.rmdir()


def _take(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
