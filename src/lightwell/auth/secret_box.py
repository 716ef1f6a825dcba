"""The secret key: what secrets of access keys are encrypted with in the database.

SigV4 needs the secret itself, so a hash will not do. The key is the setting ``secret_key``, or
``DATA/secret.key``, made with mode 0600 for a database that holds no access key yet, and for no other.
"""

from __future__ import annotations

import base64
import binascii
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from lightwell.errors import ConfigurationError

FILE = "secret.key"

_CURE = (
    "Put the right one back (setting secret_key, or the file DATA/secret.key of your backup). If it is lost "
    "for good, remove the wrong one, if there is one, and `lightwell key revoke` each key that "
    "`lightwell key list` shows: the next start makes a new secret key and a new root key."
)


class SecretBox:
    """Encrypts and decrypts short texts (Fernet: AES-128-CBC and HMAC-SHA-256)."""

    def __init__(self, key: bytes, origin: str) -> None:
        self._fernet = Fernet(base64.urlsafe_b64encode(key))
        self._origin = origin

    def encrypt(self, text: str) -> bytes:
        return self._fernet.encrypt(text.encode())

    def decrypt(self, token: bytes) -> str:
        """Raises `ConfigurationError` if it was encrypted under another secret key."""
        try:
            return self._fernet.decrypt(bytes(token)).decode()
        except InvalidToken:
            raise ConfigurationError(
                f"The access keys in the database were encrypted under another key than {self._origin}. "
                f"{_CURE}"
            ) from None


def open_secret_box(secret_key: str | None, data: Path) -> SecretBox:
    """The secret_box under the setting ``secret_key``, else under ``DATA/secret.key``.

    Raises `ConfigurationError` for what is no key, and where there is none: to make one is for
    `make_secret_key`, and for who knows that no access key is encrypted under another.
    """
    if secret_key is not None:
        return SecretBox(_read(secret_key, "the setting secret_key"), "the setting secret_key")
    path = data / FILE
    try:
        text = path.read_text("ascii")
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path} is missing, and the access keys in the database are encrypted under it. {_CURE}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    return SecretBox(_read(text, str(path)), str(path))


def _read(text: str, where: str) -> bytes:
    """32 bytes in base64, of either alphabet, with or without padding."""
    text = text.strip().rstrip("=").translate(str.maketrans("+/", "-_"))
    with suppress(ValueError, binascii.Error):
        key = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if len(key) == 32:
            return key
    raise ConfigurationError(
        f"{where} is no secret key: it takes 32 bytes in base64 (`openssl rand -base64 32`)"
    )


def make_secret_key(data: Path) -> None:
    """Make ``DATA/secret.key`` if it is missing.

    Written whole before it has its name, and never over another: processes that race agree on one.
    """
    path = data / FILE
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(prefix=FILE, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(base64.urlsafe_b64encode(os.urandom(32)) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileExistsError):
            os.link(name, path)  # fails where `rename` would replace another process's key
    finally:
        Path(name).unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
