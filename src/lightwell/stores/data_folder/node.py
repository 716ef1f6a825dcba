"""Which server these folders belong to: ``DATA/node.id``, a random id that is created on first use."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from lightwell.errors import StorageError
from lightwell.stores.data_folder.create_once import create_once
from lightwell.stores.objects.local import storage_error

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
                self._id = self._read() or self._create()
            except OSError as error:
                raise storage_error(error, f"{self._path} cannot be read or created") from error
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

    def _create(self) -> str:
        create_once(self._path, f"{secrets.token_hex(16)}\n".encode())
        created = self._read()
        assert created is not None, "it was just created"
        return created
