"""The recovery key, under which a backup holds the secret key: a file that is kept apart from the backup.

Without it, whoever has a copy of a backup cannot use the access keys in it; with it, a restored place has the
keys that its clients use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lightwell.auth.secret_box import SecretBox, read_key
from lightwell.errors import ConfigurationError

_FORMAT = 1
_HOW_TO_MAKE = "(umask 077; openssl rand -base64 32 > FILE)"


def open_recovery_key(path: Path) -> SecretBox:
    """The key in a file: 32 bytes in base64. Raises `ConfigurationError` if there is none."""
    try:
        text = path.read_text("ascii")
    except FileNotFoundError:
        raise ConfigurationError(
            f"There is no recovery key {path}: make one with {_HOW_TO_MAKE}, and keep it apart from the "
            "backups"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The recovery key {path} cannot be read: {error}") from None
    return SecretBox(read_key(text, f"the recovery key {path}"), f"the recovery key {path}")


def seal(box: SecretBox, keys: Mapping[str, str]) -> bytes:
    """The texts of key files by their names, encrypted, for a backup."""
    sealed = box.encrypt(json.dumps(dict(keys))).decode("ascii")
    return json.dumps({"format": _FORMAT, "sealed": sealed}).encode()


def unseal(box: SecretBox, data: bytes, where: str) -> dict[str, str]:
    """What was given to `seal`. Raises `ConfigurationError` for another recovery key."""
    try:
        found = json.loads(data)
        number, sealed = found["format"], found["sealed"].encode("ascii")
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ConfigurationError(f"{where} is damaged: take another copy of the backup") from None
    if number != _FORMAT:
        raise ConfigurationError(f"{where} was written by a newer lightwell: install that version")
    text = box.try_decrypt(sealed)
    if text is None:
        raise ConfigurationError(
            f"{where} was encrypted under another recovery key than this: give the one that was given to the "
            "newest `lightwell data backup`"
        )
    return {str(name): str(key) for name, key in json.loads(text).items()}
