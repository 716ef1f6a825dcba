"""``lightwell.toml``: read only if nobody but this user and root could have written it."""

from __future__ import annotations

import os
import shlex
import stat
import tomllib
from pathlib import Path
from typing import Any

from lightwell.errors import ConfigurationError

_LONGEST = 1 << 20


def read_settings_file(path: Path, *, required: bool) -> dict[str, Any] | None:
    """What a file of settings holds, by its keys, unchecked; None if it is missing and not required.

    Raises `ConfigurationError` if it cannot be read, or if anyone but this user and root can write to it.
    """
    try:
        # The file in the current folder was not asked for, so it must not block us, as a pipe would.
        flags = os.O_RDONLY | os.O_CLOEXEC | (0 if required else os.O_NONBLOCK)
        with os.fdopen(os.open(path, flags), "rb") as stream:
            _check_writers(path, os.fstat(stream.fileno()))
            if not required and path.lstat().st_uid not in _trusted_owners():
                # Whoever created a symbolic link could point it at any of this user's files.
                raise _foreign(path, path.lstat().st_uid)
            text = stream.read(_LONGEST + 1)  # a device may never end
        if len(text) > _LONGEST:
            raise ConfigurationError(f"{path} is longer than a megabyte, so it is no file of settings")
        table = tomllib.loads(text.decode())
    except FileNotFoundError:
        if required:
            raise ConfigurationError(f"{path} does not exist; check --config") from None
        return None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}; check its owner and mode, or use --config"
        ) from None
    return table


def _trusted_owners() -> tuple[int, int]:
    return os.geteuid(), 0


def _check_writers(path: Path, state: os.stat_result) -> None:
    """Raises `ConfigurationError` if anyone but this user and root can write to the open file."""
    if state.st_uid not in _trusted_owners():
        raise _foreign(path, state.st_uid)
    if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and stat.S_ISREG(state.st_mode):
        raise ConfigurationError(
            f"Users other than the owner can write to {path.absolute()} (mode {state.st_mode & 0o7777:04o}) "
            f"and so control lightwell: run chmod go-w {shlex.quote(str(path.absolute()))}"
        )


def _foreign(path: Path, owner: int) -> ConfigurationError:
    return ConfigurationError(
        f"{path.absolute()} belongs to user {owner}, but settings are read only from files owned by user "
        f"{os.geteuid()}, who is running this, or by root: change its owner if you trust its contents, or "
        "run this in another folder"
    )
