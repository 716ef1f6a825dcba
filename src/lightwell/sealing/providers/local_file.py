"""Data keys wrapped with AES-256-GCM under a key in a file of this server.

The file has a key a line, 32 bytes in base64. The first one wraps; the others unwrap what was wrapped before
them. A wrapped key is: 1, the id of its key (8 bytes), a random nonce (12), and the encrypted data key, with
its purpose as associated data.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lightwell.errors import ConfigurationError
from lightwell.sealing.providers.interface import DataKey, KeyProviderError, KeyPurpose
from lightwell.sealing.segments import KEY

_FORM = b"\x01"
_ID = 8
_NONCE = 12
_LONGEST = 64 << 10


@dataclass(frozen=True, slots=True)
class _Key:
    id: bytes
    cipher: AESGCM


class LocalFileKeys:
    """The provider ``local``. ``origin`` is what a person calls the file."""

    name = "local"

    def __init__(self, keys: Sequence[bytes], origin: str) -> None:
        self._keys = [_Key(hashlib.sha256(key).digest()[:_ID], AESGCM(key)) for key in keys]
        self._origin = origin

    @classmethod
    def read(cls, path: Path) -> LocalFileKeys:
        """Raises `ConfigurationError` if the file is missing, unreadable or holds anything else."""
        try:
            with path.open("rb") as stream:
                text = stream.read(_LONGEST)
        except OSError as error:
            raise ConfigurationError(
                f"The key file {path} cannot be read: {error.strerror}. Without it nothing that is "
                "encrypted can be read: restore it from your backup, or set encryption_key_file."
            ) from None
        return cls.parse(text, path)

    @classmethod
    def parse(cls, text: bytes, path: Path) -> LocalFileKeys:
        """The keys in what was read from ``path``. Raises `ConfigurationError` if it holds anything else."""
        keys = [_decode(line, f"line {number} of {path}") for number, line in _lines(text)]
        if not keys:
            raise ConfigurationError(f"The key file {path} is empty: restore it from your backup.")
        return cls(keys, str(path))

    def make(self, purpose: KeyPurpose) -> DataKey:
        plain = os.urandom(KEY)
        return DataKey(plain, *self.wrap(plain, purpose))

    def keeper(self, purpose: KeyPurpose) -> str:
        return self._keys[0].id.hex()

    def unwrap(self, wrapped: bytes, purpose: KeyPurpose, keeper: str) -> bytes:
        if wrapped[:1] != _FORM:
            raise KeyProviderError(
                f"The key of data store {purpose.datastore} is not wrapped under a key of {self._origin}: "
                "is key_provider the one that it was made with?"
            )
        id, rest = wrapped[1 : 1 + _ID], wrapped[1 + _ID :]
        for key in self._keys:
            if key.id == id:
                try:
                    return key.cipher.decrypt(rest[:_NONCE], rest[_NONCE:], _bound(purpose))
                except (InvalidTag, ValueError):
                    raise KeyProviderError(
                        f"The wrapped key of data store {purpose.datastore} is damaged, or is that of "
                        "another data store: restore the database from a backup."
                    ) from None
        raise KeyProviderError(
            f"The key of data store {purpose.datastore} is wrapped under the key {id.hex()}, which is not in "
            f"{self._origin}: restore that file from your backup, or add the line that is missing."
        )

    def wrap(self, plain: bytes, purpose: KeyPurpose) -> tuple[bytes, str]:
        key, nonce = self._keys[0], os.urandom(_NONCE)
        encrypted = key.cipher.encrypt(nonce, plain, _bound(purpose))
        return _FORM + key.id + nonce + encrypted, key.id.hex()


def new_key_line() -> bytes:
    """A line of the file with a new key."""
    return base64.urlsafe_b64encode(os.urandom(KEY)) + b"\n"


def _bound(purpose: KeyPurpose) -> bytes:
    parts = ("lightwell data key", purpose.datastore, str(purpose.number), purpose.kms_key_arn or "")
    return "\0".join(parts).encode()


def _lines(text: bytes) -> list[tuple[int, bytes]]:
    numbered = enumerate((line.strip() for line in text.splitlines()), 1)
    return [(number, line) for number, line in numbered if line and not line.startswith(b"#")]


def _decode(line: bytes, where: str) -> bytes:
    try:
        key = base64.b64decode(line.translate(bytes.maketrans(b"-_", b"+/")), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY:
        raise ConfigurationError(
            f"{where} is not a key: expected 32 bytes in base64 (`openssl rand -base64 32`)"
        )
    return key
