"""Files of a database that are read past SQLite."""

from __future__ import annotations

import os
import threading
from pathlib import Path

_kept: dict[tuple[int, int], int] = {}
_lock = threading.Lock()


def descriptor(path: Path) -> int:
    """Of a file, for reading. It stays open: closing any would release the locks of all connections that this
    process has to the file (https://sqlite.org/howtocorrupt.html, 2.2). Raises `OSError`."""
    status = path.stat()
    place = status.st_dev, status.st_ino
    with _lock:
        if place not in _kept:
            _kept[place] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return _kept[place]
