"""Folders for temporary files, which no sweep removes while they are used, whatever the clock says."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightwell.stores.data_folder.process_lock import locked

_FOLDER = os.O_RDONLY | os.O_DIRECTORY


@contextmanager
def held_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder, mode 0700, removed at the end and by no sweep before. Raises `OSError`."""
    with tempfile.TemporaryDirectory(dir=parent, prefix=prefix) as name:
        folder = Path(name)
        with locked(folder, _FOLDER, fcntl.LOCK_SH):
            yield folder


def sweep_whole(folder: Path, older_than: int) -> int:
    """Remove a `held_folder` and its files if its process is gone. Returns how many files.

    ``older_than`` is ms since the epoch: none may be so old that is made and not yet held.
    """
    with suppress(OSError), locked(folder, _FOLDER):
        files = list(folder.iterdir())
        if all(path.lstat().st_mtime_ns // 1_000_000 < older_than for path in (folder, *files)):
            shutil.rmtree(folder)
            return len(files)
    return 0
