"""The file of delivered events, which several processes may append to while it is rotated."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from lightwell.clock import Clock
from lightwell.errors import StorageError


class EventLog:
    """A file of lines. Each call writes whole lines, durable and not mixed with those of other processes.

    A file that was renamed or removed, as logrotate does, is left behind at the next line, and a new one is
    begun. One that has ``rotate_bytes`` or more is renamed so that its name ends in the time, and kept; 0
    means never.
    """

    def __init__(self, path: Path, rotate_bytes: int = 0, clock: Clock | None = None) -> None:
        self.path = path
        self._rotate_bytes = rotate_bytes
        self._clock = clock or Clock()
        self._fd: int | None = None

    def append(self, lines: list[str]) -> None:
        """Write the lines. Raises `StorageError`; some of them may be written then."""
        data = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
        try:
            fd = self._locked()
            try:
                size = os.fstat(fd).st_size
                if size and os.pread(fd, 1, size - 1) != b"\n":
                    os.write(fd, b"\n")  # a line that a crash has cut short; its event is delivered again
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
                os.fsync(fd)
            finally:
                fcntl.flock(fd, fcntl.LOCK_UN)
        except OSError as error:
            self.close()
            raise StorageError(f"{self.path} cannot be written: {error.strerror}.") from error

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _locked(self) -> int:
        """The file that has this name now, locked against other processes."""
        while True:
            if self._fd is None:
                flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._fd = os.open(self.path, flags, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            state = os.fstat(self._fd)
            if self._is_named(state):
                if not self._rotate_bytes or state.st_size < self._rotate_bytes:
                    return self._fd
                with suppress(FileNotFoundError):  # somebody else has just renamed it
                    self.path.rename(self._next_name())
            self.close()  # unlocks it

    def _is_named(self, state: os.stat_result) -> bool:
        with suppress(FileNotFoundError):
            return os.path.samestat(state, self.path.stat())
        return False

    def _next_name(self) -> Path:
        now = datetime.fromtimestamp(self._clock.now() / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
        count, name = 1, f"{self.path.stem}-{now}"
        while (
            free := self.path.with_name(f"{name}{'' if count == 1 else f'-{count}'}{self.path.suffix}")
        ).exists():
            count += 1
        return free
