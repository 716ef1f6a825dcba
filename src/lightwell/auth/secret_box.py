"""The secret key, which encrypts the secrets of access keys in the database.

SigV4 needs the secret itself, so a hash will not do. The key is the setting ``secret_key``, by value or in a
file, or ``DATA/secret.key``, which is created with mode 0600 only for a database that has no access keys yet.
Servers of one database need one key: a server with another does not start.

While it is replaced there are several, the newest first: the first encrypts and signs, and all of them
decrypt and verify (`administration.reencryption`).
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lightwell.errors import ConfigurationError
from lightwell.stores.data_folder.create_once import create_once

FILE = "secret.key"
MOST_KEYS = 8

_NAME = "lightwell name of a secret key"

_REMEDY = (
    "Restore the right one (the setting secret_key or secret_key_file, or the file DATA/secret.key from your "
    "backup); where several servers use one database, give all of them the same. If it is "
    "lost for good, remove the wrong one, if any, and run `lightwell key revoke` for each key that "
    "`lightwell key list` shows; the next start then creates a new secret key and a new root key."
)


class SecretBox:
    """Encrypts and decrypts short texts (Fernet: AES-128-CBC and HMAC-SHA-256), by one key or several."""

    def __init__(self, key: bytes, origin: str, older: Sequence[bytes] = ()) -> None:
        """``key`` encrypts; ``older`` ones are tried, too, for what was encrypted before it."""
        self._keys = (key, *older)
        self._fernets = [Fernet(base64.urlsafe_b64encode(each)) for each in self._keys]
        self._fernet = MultiFernet(self._fernets)
        self._origin = origin

    @property
    def names(self) -> list[str]:
        """A name for each key, the newest first, to tell them apart by; it betrays nothing of them."""
        return [_derived(key, _NAME)[:4].hex() for key in self._keys]

    def derive(self, purpose: str) -> bytes:
        """32 bytes for ``purpose`` alone, the same wherever the secret key is the same (HKDF, RFC 5869)."""
        return _derived(self._keys[0], purpose)

    def derive_all(self, purpose: str) -> list[bytes]:
        """Those of each key, the newest first: whatever one of them has signed is genuine."""
        return [_derived(key, purpose) for key in self._keys]

    def encrypt(self, text: str) -> bytes:
        return self._fernet.encrypt(text.encode())

    def try_decrypt(self, token: bytes) -> str | None:
        """None if it was encrypted under another key."""
        try:
            return self._fernet.decrypt(bytes(token)).decode()
        except InvalidToken:
            return None

    def decrypt(self, token: bytes) -> str:
        """Raises `ConfigurationError` if it was encrypted under another secret key."""
        try:
            return self._fernet.decrypt(bytes(token)).decode()
        except InvalidToken:
            raise ConfigurationError(
                "The access keys in the database were encrypted under a secret key other than "
                f"{self._origin}. {_REMEDY}"
            ) from None

    def renewed(self, token: bytes) -> bytes:
        """The same text under the newest key; one of the others has to be the one that it is under."""
        return self._fernet.rotate(bytes(token))

    def key_of(self, token: bytes) -> int | None:
        """Under which key it was encrypted, 0 for the newest; None if under none of them."""
        for place, fernet in enumerate(self._fernets):
            with suppress(InvalidToken):
                fernet.decrypt(bytes(token))
                return place
        return None


def _derived(key: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), length=32, salt=None, info=purpose.encode()).derive(key)


def open_secret_box(secret_key: str | None, data: Path) -> SecretBox:
    """The secret box for the setting ``secret_key``, else for ``DATA/secret.key``.

    Raises `ConfigurationError` if the key is invalid or missing. Only `create_secret_key` creates one, and
    only a caller who knows that no access key is encrypted under another may call that.
    """
    if secret_key is not None:
        return _box(secret_key, "the setting secret_key")
    path = data / FILE
    try:
        text = path.read_text("ascii")
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path} is missing, but the access keys in the database are encrypted under it. {_REMEDY}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    return _box(text, str(path))


def _box(text: str, where: str) -> SecretBox:
    """The keys in a text, the newest first, with white space or commas between them."""
    keys = [read_key(each, where) for each in text.replace(",", " ").split()] or [read_key("", where)]
    if len(keys) > MOST_KEYS:
        raise ConfigurationError(
            f"{where} has {len(keys)} secret keys; {MOST_KEYS} are the most: leave out those that `lightwell "
            "doctor` no longer counts"
        )
    return SecretBox(keys[0], where, keys[1:])


def read_key(text: str, where: str) -> bytes:
    """32 bytes in base64, in either alphabet, with or without padding."""
    text = text.strip().rstrip("=").translate(str.maketrans("+/", "-_"))
    with suppress(ValueError, binascii.Error):
        key = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if len(key) == 32:
            return key
    raise ConfigurationError(
        f"{where} is not a secret key: expected 32 bytes in base64 (`openssl rand -base64 32`), or several "
        "such keys in lines of their own, the newest first"
    )


def create_secret_key(data: Path) -> None:
    """Create ``DATA/secret.key`` if it is missing; processes that race agree on one."""
    path = data / FILE
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    create_once(path, base64.urlsafe_b64encode(os.urandom(32)) + b"\n")
