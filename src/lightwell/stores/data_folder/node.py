"""Which server these folders belong to: ``DATA/node.id``, a random id that is created on first use."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
from pathlib import Path

from lightwell.errors import StorageError
from lightwell.stores.objects.local import failure

FILE = "node.id"

NOBODY = ""
"""Instead of a node: what a job refers to is in S3, not in a server's folder."""


class Node:
    """One data folder."""

    def __init__(self, data: Path) -> None:
        self._path = data / FILE
        self._id: str | None = None

    @property
    def id(self) -> str:
        """The same for every call, process and start. Raises `StorageError`."""
        if self._id is None:
            try:
                self._id = self._read() or self._make()
            except OSError as error:
                raise failure(error, f"{self._path} cannot be read or created") from error
        return self._id

    def _read(self) -> str | None:
        try:
            text = self._path.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            return None
        if not re.fullmatch(r"[0-9a-z]{8,64}", text):
            raise StorageError(
                f"{self._path} is damaged: put back the id that it held, 32 hex digits, or remove it; import "
                "jobs that wait for the old id are shown by `lightwell doctor`."
            )
        return text

    def _make(self) -> str:
        """Create it whole or not at all; of several processes that do so at once, one wins."""
        fd, name = tempfile.mkstemp(prefix=f".{FILE}-", dir=self._path.parent)
        try:
            with os.fdopen(fd, "w", encoding="ascii") as stream:
                stream.write(f"{secrets.token_hex(16)}\n")
                stream.flush()
                os.fsync(stream.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(name, self._path)
        finally:
            Path(name).unlink(missing_ok=True)
        made = self._read()
        assert made is not None, "linked a moment ago"
        return made
