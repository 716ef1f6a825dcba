"""``serve --ready-file``: a file that exists while the server is ready, for scripts that start one."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from lightwell.errors import ConfigurationError


class ReadyFile:
    """The file at ``path``; nothing happens without one.

    Removes what another server has left behind. Raises `ConfigurationError` if the file could not be written.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is None:
            return
        try:
            path.unlink(missing_ok=True)
            with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}"):
                pass
        except OSError as error:
            raise ConfigurationError(
                f"The file {path} of --ready-file cannot be written: {error.strerror}; name a file in a "
                "folder that you may write to"
            ) from None

    def write(self, url: str) -> None:
        """Write the address of the server; whoever sees the file sees all of it."""
        if self._path is None:
            return
        unfinished: Path | None = None
        try:
            with NamedTemporaryFile(
                "w", dir=self._path.parent, prefix=f".{self._path.name}", delete=False
            ) as stream:
                unfinished = Path(stream.name)
                stream.write(f"{url}\n")
            unfinished.replace(self._path)
        except OSError as error:
            print(f"lightwell: {self._path} cannot be written: {error.strerror}", file=sys.stderr)
            if unfinished is not None:
                unfinished.unlink(missing_ok=True)

    def remove(self) -> None:
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
