"""A key provider that notices when it is asked while a write transaction is open."""

from __future__ import annotations

import os

from lightwell.sealing.providers.interface import DataKey, KeyProviderAwayError, KeyPurpose
from lightwell.sealing.providers.local_file import LocalFileKeys
from lightwell.sealing.segments import KEY
from lightwell.stores.db.database import Database
from lightwell.stores.transactions import outside


class WatchedKeys(LocalFileKeys):
    """``asked``: of each call, its name and whether a write transaction was open."""

    name = "watched"

    def __init__(self, *keys: bytes) -> None:
        super().__init__(keys or (b"w" * 32,), "the watched file")
        self.asked: list[tuple[str, bool]] = []
        self.away = False
        self.db: Database | None = None
        """Where others write while it is asked; what the same thread does within a transaction is refused."""

    def make(self, purpose: KeyPurpose) -> DataKey:
        self._note("make")
        plain = os.urandom(KEY)
        return DataKey(plain, *super().wrap(plain, purpose))

    def wrap(self, plain: bytes, purpose: KeyPurpose) -> tuple[bytes, str]:
        self._note("wrap")
        return super().wrap(plain, purpose)

    def unwrap(self, wrapped: bytes, purpose: KeyPurpose, keeper: str) -> bytes:
        self._note("unwrap")
        return super().unwrap(wrapped, purpose, keeper)

    def _note(self, call: str) -> None:
        self.asked.append((call, outside.is_inside()))
        if self.db is not None:
            self.db.write(lambda conn: None)
        if self.away:
            raise KeyProviderAwayError("it is away")

    def taken(self) -> list[str]:
        """What was asked since, all of it while no write transaction was open."""
        asked, self.asked = self.asked, []
        assert not any(was_open for _, was_open in asked), asked
        return [call for call, _ in asked]
