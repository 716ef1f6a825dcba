"""``DATA/credentials``: the root key in AWS's shared-credentials format, profile ``lightwell``, mode 0600."""

from __future__ import annotations

import configparser
import os
import tempfile
from pathlib import Path

from lightwell.auth.principals import Credentials
from lightwell.errors import ConfigurationError

FILE = "credentials"
PROFILE = "lightwell"


def read_credentials(data: Path) -> Credentials | None:
    """The key in the file; None if there is no file or it lacks the profile."""
    parser = configparser.RawConfigParser()
    path = data / FILE
    try:
        parser.read_string(path.read_text("utf-8"))
        section = parser[PROFILE]
        return Credentials(section["aws_access_key_id"], section["aws_secret_access_key"])
    except (FileNotFoundError, KeyError, UnicodeDecodeError, configparser.Error):
        return None
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}; run this as the folder's owner, or check --data"
        ) from None


def write_credentials(data: Path, key: Credentials) -> bool:
    """Write ``key`` to the file; False if it is there already."""
    if read_credentials(data) == key:
        return False
    handle, name = tempfile.mkstemp(prefix=FILE, dir=data)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(
                f"[{PROFILE}]\n"
                f"aws_access_key_id = {key.access_key_id}\n"
                f"aws_secret_access_key = {key.secret_access_key}\n"
            )
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(data / FILE)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return True
