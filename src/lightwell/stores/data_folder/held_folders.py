"""Folders for temporary files, which no sweep removes while they are used, whatever the clock says."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def held_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder, mode 0700, removed at the end and by no sweep before. Raises `OSError`."""
    with tempfile.TemporaryDirectory(dir=parent, prefix=prefix) as name, _locked(Path(name), fcntl.LOCK_SH):
        yield Path(name)


def sweep_whole(folder: Path, older_than: int) -> int:
    """Remove a `held_folder` and its files if its process is gone. Returns how many files.

    ``older_than`` is ms since the epoch: none may be so old that is made and not yet held.
    """
    with suppress(OSError), _locked(folder, fcntl.LOCK_EX):
        files = list(folder.iterdir())
        if all(path.lstat().st_mtime_ns // 1_000_000 < older_than for path in (folder, *files)):
            shutil.rmtree(folder)
            return len(files)
    return 0


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """Raises `OSError` if another process or thread has it locked in a way that does not go with this one."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)
