"""Sealed values: what rows and cached documents hold of patients, each encrypted as a whole.

A value is ``LWV1``, the key of the data key's row (8 bytes), a random nonce (12), and the value encrypted
with AES-256-GCM, its tag last. What it is (`about`: table, column and key of its row) is associated data, so
that it opens nowhere else. Random nonces bear 2³² values a key (NIST SP 800-38D §8.3).

Values that are compared with each other where they lie are sealed *alike*: ``LWV2``, the key's row, and
AES-SIV (RFC 5297) without a nonce, so that equal ones give equal bytes. Whoever reads the rows sees which are
equal.

Neither beginning occurs in what is not sealed: zstd frames, gzip and JSON have others.
"""

from __future__ import annotations

import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lightwell.sealing.errors import SealError

_MAGIC, _ALIKE = b"LWV1", b"LWV2"
_ROW = 8
_HEAD = len(_MAGIC) + _ROW
_NONCE = 12


def is_sealed(value: bytes) -> bool:
    """Whether a value is one that `ValueCipher` made."""
    return value[:3] == b"LWV"


def key_of(value: bytes) -> int:
    """The key of the row of the data key that a sealed value was sealed with."""
    return int.from_bytes(value[len(_MAGIC) : _HEAD], "big")


class ValueCipher:
    """Seals and opens values with a data key. ``row`` is the key of its row."""

    __slots__ = ("_alike", "_alike_head", "_cipher", "_hashes", "_head")

    def __init__(self, data_key: bytes, row: int) -> None:
        self._cipher = AESGCM(_derive(data_key, 32, b"lightwell values 1"))
        self._alike = AESSIV(_derive(data_key, 64, b"lightwell equal values 1"))
        self._hashes = _derive(data_key, 32, b"lightwell hashes 1")
        number = row.to_bytes(_ROW, "big")
        self._head, self._alike_head = _MAGIC + number, _ALIKE + number

    def seal(self, about: bytes, value: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return self._head + nonce + self._cipher.encrypt(nonce, value, about)

    def seal_alike(self, about: bytes, value: bytes) -> bytes:
        """Equal bytes for equal ones, which must not be empty."""
        return self._alike_head + self._alike.encrypt(value, [about])

    def open(self, about: bytes, sealed: bytes) -> bytes:
        """The value that either was given. Raises `SealError` if it was not ``about`` that."""
        try:
            if sealed.startswith(self._head):
                rest = sealed[_HEAD + _NONCE :]
                return self._cipher.decrypt(sealed[_HEAD : _HEAD + _NONCE], rest, about)
            if sealed.startswith(self._alike_head):
                return self._alike.decrypt(sealed[_HEAD:], [about])
        except (InvalidTag, ValueError):
            pass
        raise SealError(
            f"A sealed value ({about[:32].decode('ascii', 'replace')}) is damaged, or belongs elsewhere."
        )

    def hash(self, digest: bytes) -> bytes:
        """Stands for a digest, and lets nobody without the key try what it might be of."""
        return hmac.digest(self._hashes, digest, "sha256")


def _derive(key: bytes, length: int, info: bytes) -> bytes:
    return HKDF(SHA256(), length=length, salt=None, info=info).derive(key)
