"""Locks in a data folder, each held by one process; the system releases them when the process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

ENGINE, POOL = "engine.lock", "pool.lock"
"""Held by the one process that works on imports, and by the one that serves codec workers' requests."""


class ProcessLock:
    """The lock ``DATA/NAME``, a file with the id of the process that holds it or held it last."""

    def __init__(self, data: Path, name: str) -> None:
        self._path = data / name
        self._fd: int | None = None

    def take(self) -> bool:
        """Take the lock; False if another process holds it."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        self._fd = fd
        return True

    def holder(self) -> int | None:
        """The ID of the process that holds the lock; None if that is this process, none or unknown."""
        if self._fd is not None:
            return None
        try:
            with self._path.open("rb") as lock:
                text = lock.read(20)
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(text) if text.strip().isdigit() else None
        except OSError:
            return None
        return None

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


@contextmanager
def locked(path: Path, flags: int = os.O_RDWR | os.O_NOFOLLOW, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """While a file or folder is locked, which has to be there; ``flags`` open it.

    Raises `OSError`, also if another process or thread has it locked in a way that does not go with this one:
    then it is in use.
    """
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)
