"""Cached documents of encrypted data stores, sealed; see `stores.data_folder.document_cache`."""

from __future__ import annotations

from lightwell.errors import StorageError
from lightwell.stores.db.database import Database
from lightwell.stores.keys import values


class SealedDocuments:
    """Seals documents with the key of their data store. A document that is not to be had is made again."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def seal(self, set_key: int, name: str, data: bytes) -> bytes | None:
        """What to keep of a document of an image set; None if its key is not to be had."""
        try:
            with self._db.read() as conn:
                sealer = values.sealer_of_set(conn, set_key)
        except StorageError:
            return None
        return data if sealer is None else sealer.seal(_about(name), data)

    def open(self, name: str, kept: bytes) -> bytes | None:
        """The document; None if it cannot be opened, or was kept under another name."""
        if kept[:3] != b"LWV":
            return kept
        try:
            with self._db.read() as conn:
                return values.opened_about(conn, _about(name), kept)
        except StorageError:
            return None


def _about(name: str) -> bytes:
    return b"document " + name.encode()
