"""Which key provider the settings name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lightwell.stores.data_folder.create_once import create_once
from lightwell.stores.keys import data_keys

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.sealing.providers.interface import KeyProvider

    OpenProvider = Callable[[Connection], KeyProvider]

FILE = "encryption.key"


class KeySettings(Protocol):
    """The settings of encryption."""

    @property
    def data(self) -> Path: ...
    @property
    def database(self) -> str: ...
    @property
    def encryption(self) -> str: ...
    @property
    def key_provider(self) -> str: ...
    @property
    def encryption_key_file(self) -> Path | None: ...
    @property
    def key_cache(self) -> int: ...
    @property
    def kms_key(self) -> str | None: ...
    @property
    def kms_endpoint_url(self) -> str | None: ...
    @property
    def region(self) -> str: ...


def provider_of(settings: KeySettings) -> OpenProvider | None:
    """What opens the provider, given a connection to the database; None for ``key_provider = none``.

    It raises `ConfigurationError` where a key file is missing or wrong. ``DATA/encryption.key`` is created
    only for a database in which nothing is encrypted under such a key yet, and only on SQLite, which has one
    server: of several, each would make a key of its own. On PostgreSQL nothing is encrypted before the file
    is named.
    """
    return openers(settings).get(settings.key_provider)


def openers(settings: KeySettings) -> dict[str, OpenProvider]:
    """What opens each provider, by name: keys may be under another than that of the settings."""
    found: dict[str, OpenProvider] = {"aws-kms": lambda conn: _aws_kms(settings)}
    is_shared = not settings.database.startswith("sqlite:")
    if not is_shared or settings.encryption_key_file is not None:
        found["local"] = lambda conn: _local(settings, conn)
    return found


def _aws_kms(settings: KeySettings) -> KeyProvider:
    from lightwell.sealing.providers.aws_kms import AwsKmsKeys

    return AwsKmsKeys(settings.kms_key, settings.region, settings.kms_endpoint_url)


def _local(settings: KeySettings, conn: Connection) -> KeyProvider:
    from lightwell.sealing.providers.local_file import LocalFileKeys, new_key_line

    if settings.encryption_key_file is not None:
        return LocalFileKeys.read(settings.encryption_key_file)
    path = settings.data.absolute() / FILE
    if not path.exists() and not data_keys.exists(conn, LocalFileKeys.name):
        create_once(path, new_key_line())
    return LocalFileKeys.read(path)
