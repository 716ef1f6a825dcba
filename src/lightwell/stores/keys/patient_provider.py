"""A key provider for whom no write transaction waits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lightwell.stores.transactions.outside import ask

if TYPE_CHECKING:
    from lightwell.sealing.providers.interface import DataKey, KeyProvider, KeyPurpose


class PatientProvider:
    """A `KeyProvider` that asks another one, but never while a write transaction is open: see `ask`.

    Within one transaction it is asked the same once.
    """

    def __init__(self, provider: KeyProvider) -> None:
        self._provider = provider
        self.name = provider.name

    def make(self, purpose: KeyPurpose) -> DataKey:
        return ask((self.name, "make", purpose), partial(self._provider.make, purpose))

    def unwrap(self, wrapped: bytes, purpose: KeyPurpose, keeper: str) -> bytes:
        about = self.name, "unwrap", wrapped, purpose, keeper
        return ask(about, partial(self._provider.unwrap, wrapped, purpose, keeper))

    def wrap(self, plain: bytes, purpose: KeyPurpose) -> tuple[bytes, str]:
        return ask((self.name, "wrap", plain, purpose), partial(self._provider.wrap, plain, purpose))

    def keeper(self, purpose: KeyPurpose) -> str:
        return self._provider.keeper(purpose)
