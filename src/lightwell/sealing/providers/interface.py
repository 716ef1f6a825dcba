"""What a key provider does. It never sees what data keys encrypt, and nobody else sees its own key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lightwell.errors import StorageError, StorageUnavailableError


class KeyProviderError(StorageError):
    """The provider will not do this: another key, a key that was disabled or deleted, no right to use it."""


class KeyProviderAwayError(StorageUnavailableError):
    """The provider cannot be asked now."""


@dataclass(frozen=True, slots=True)
class KeyPurpose:
    """What a data key is for. It is bound to the wrapped key: the key of one data store, put into the row of
    another, is refused.

    ``datastore`` is an id of the API; ``kms_key_arn`` is what CreateDatastore was given, None without.
    """

    datastore: str
    number: int
    kms_key_arn: str | None


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key: ``plain``, 32 bytes, and as it is stored. ``keeper`` names the key that wrapped it."""

    plain: bytes
    wrapped: bytes
    keeper: str


class KeyProvider(Protocol):
    """All methods may be called from many threads.

    They raise `KeyProviderError` and `KeyProviderAwayError`.
    """

    name: str
    """As the setting ``key_provider`` has it."""

    def make(self, purpose: KeyPurpose) -> DataKey:
        """A new data key."""

    def unwrap(self, wrapped: bytes, purpose: KeyPurpose, keeper: str) -> bytes:
        """The data key that `make` returned for the same purpose; ``keeper`` is what wrapped it."""

    def wrap(self, plain: bytes, purpose: KeyPurpose) -> tuple[bytes, str]:
        """A data key under the provider's newest key for it, and that one's name."""

    def keeper(self, purpose: KeyPurpose) -> str:
        """The name of the key that `wrap` wraps with."""
