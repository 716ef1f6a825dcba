"""``DATA/audit``, where the audit trail of this data folder is, and ``DATA/audit.key``, which seals it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from lightwell.errors import ConfigurationError
from lightwell.observe.audit.chain import ROTATE_BYTES, ChainPlace
from lightwell.observe.audit.keys import SIZE, AuditKeys, read_keys
from lightwell.observe.audit.segments import FOLDER, all_segments
from lightwell.stores.data_folder.create_once import create_once
from lightwell.stores.data_folder.node import FILE as NODE_FILE
from lightwell.stores.data_folder.node import Node

KEY_FILE = "audit.key"


class AuditFolder:
    """The audit trail of one data folder; ``key_file`` is the setting ``audit_key_file``."""

    def __init__(self, data: Path, key_file: Path | None) -> None:
        self._data = data.absolute()
        self._key_file = key_file

    @property
    def root(self) -> Path:
        return self._data / FOLDER

    def node(self) -> str | None:
        """The id of this data folder; None if it has none yet. Raises `StorageError`."""
        return Node(self._data).id if (self._data / NODE_FILE).exists() else None

    def keys(self) -> AuditKeys:
        """The keys, which exist already. Raises `ConfigurationError`, and `OSError` if that is a moment's."""
        path = self._key_file or self._data / KEY_FILE
        try:
            text = path.read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            raise ConfigurationError(
                f"{path}, the key of the audit trail, cannot be read: {error.strerror}. Put it back from a "
                f"copy. Where there is none, move {self.root} to another place: then a new trail begins, "
                "with a new key"
            ) from None
        return read_keys(text, str(path))

    def ensure_keys(self) -> AuditKeys:
        """The keys; one is made, with mode 0600, for a trail that begins.

        Processes that race agree on one. Raises `ConfigurationError` and `OSError`.
        """
        path = self._data / KEY_FILE
        if self._key_file is None and not path.exists() and next(all_segments(self.root), None) is None:
            create_once(path, f"{secrets.token_hex(SIZE)}\n".encode())
        return self.keys()

    def chain(self, writer: str, now: Callable[[], int], rotate_bytes: int = ROTATE_BYTES) -> ChainPlace:
        """Where this writer's chain is. Raises `ConfigurationError`, `StorageError` and `OSError`."""
        return ChainPlace(
            self.root, Node(self._data).id, writer, self.ensure_keys(), now, rotate_bytes=rotate_bytes
        )
