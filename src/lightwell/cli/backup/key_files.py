"""The key files that a backup holds: put into it once they were proved to open it, and brought back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lightwell.errors import ConfigurationError, StorageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.auth.secret_box import SecretBox
    from lightwell.settings import Settings
    from lightwell.stores.backup.runs import Backups, Run
    from lightwell.work.backup.backup import HeldKeys

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """Those of an installation. ``recovery`` seals them, None leaves them out; ``may_lack``: also if nobody
    can read a backup without them, of which there are copies elsewhere.
    """

    settings: Settings
    recovery: SecretBox | None
    may_lack: bool

    def held(self, conn: Connection) -> HeldKeys:
        """The files as they are now, which open all that the database of ``conn`` has encrypted.

        Raises `ConfigurationError` and `KeyProviderError` if they do not: nobody could read such a backup.
        """
        from lightwell.auth import recovery_key
        from lightwell.auth.secret_box import FILE
        from lightwell.stores.keys import data_keys
        from lightwell.stores.keys.providers import FILE as ENCRYPTION_FILE
        from lightwell.work.backup.backup import HeldKeys

        settings = self.settings
        path = settings.encryption_key_file or settings.data / ENCRYPTION_FILE
        is_sealed = data_keys.exists(conn, "local")
        is_needed = is_sealed and not self.may_lack
        if self.recovery is None:
            if is_needed:
                raise ConfigurationError(
                    f"Data stores are encrypted under {path}, without which nobody can read the backup: give "
                    "--recovery-key FILE, or --without-keys if you keep a copy of that key apart from the "
                    "backup"
                )
            return HeldKeys(lacks_encryption_key=is_sealed)
        secret = settings.read_secret_key()
        encryption = _text(path)
        texts = {FILE: _text(settings.data / FILE) if secret is None else secret, ENCRYPTION_FILE: encryption}
        if is_needed:
            if encryption is None:
                raise ConfigurationError(
                    f"Data stores are encrypted under {path}, which is not there, so nobody could read the "
                    "backup: bring it back from your copy, or set encryption_key_file; or give --without-keys"
                )
            _prove(conn, encryption, path)
        found = {name: text for name, text in texts.items() if text is not None}
        sealed = recovery_key.seal(self.recovery, found) if found else None
        return HeldKeys(sorted(found), sealed, is_sealed and encryption is None)


def _prove(conn: Connection, text: str, path: Path) -> None:
    """Unwrap every data key that is wrapped under the key file. Raises `KeyProviderError`."""
    from lightwell.sealing.providers.interface import KeyProviderError
    from lightwell.sealing.providers.local_file import LocalFileKeys
    from lightwell.stores.keys import data_keys

    provider = LocalFileKeys.parse(text.encode("ascii"), path)
    after = 0
    while page := data_keys.page(conn, after, _PAGE):
        after = page[-1].key
        for stored in page:
            if stored.provider == provider.name and stored.wrapped is not None:
                try:
                    provider.unwrap(stored.wrapped, stored.purpose, stored.keeper)
                except KeyProviderError as error:
                    said = str(error).rstrip(".")
                    raise KeyProviderError(
                        f"{said}. Nobody could read such a backup: if the key was replaced just now, run it "
                        "again; --without-keys makes one for which you keep the right key elsewhere"
                    ) from error


def _text(path: Path) -> str | None:
    """What a key file holds; None where no such key was made yet."""
    try:
        return path.read_text("ascii")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(
            f"The key {path} cannot be read: {error}; without --recovery-key the backup leaves it out"
        ) from None


def unsealed(backups: Backups, run: Run, recovery: Path) -> Mapping[str, str]:
    """The keys of a run, by file. Raises `ConfigurationError` if the recovery key does not fit."""
    from lightwell.auth import recovery_key

    box = recovery_key.open_recovery_key(recovery)
    found = backups.keys_of(run)
    if found is None:
        raise ConfigurationError(
            f"The run {run.id} holds no keys: it was made without --recovery-key. Restore it without, and "
            "bring DATA/secret.key, and DATA/encryption.key if data stores are encrypted, from elsewhere; "
            "--list shows which runs hold keys"
        )
    where, data = found
    return recovery_key.unseal(box, data, where)


def keep(settings: Settings, keys: Mapping[str, str]) -> None:
    """Write the keys into the data folder, but those that the settings name elsewhere.

    A file that is there stays if it has all of them: a line that was missing may have been added by hand.
    """
    from lightwell.auth.secret_box import FILE
    from lightwell.stores.data_folder.create_once import create_once
    from lightwell.stores.keys.providers import FILE as ENCRYPTION_FILE

    is_elsewhere = {
        FILE: settings.read_secret_key() is not None,
        ENCRYPTION_FILE: settings.encryption_key_file is not None,
    }
    for name, text in keys.items():
        if is_elsewhere.get(name, True):
            continue
        path = settings.data / name
        create_once(path, text.encode("ascii"))
        if not _lines(text) <= _lines(path.read_text("ascii")):
            raise ConfigurationError(
                f"{path} is another key than that of the backup: move it away, and run the same command again"
            )


def _lines(text: str) -> set[str]:
    """The keys in the text of a key file."""
    lines = (line.strip() for line in text.replace(",", "\n").splitlines())
    return {line for line in lines if line and not line.startswith("#")}
