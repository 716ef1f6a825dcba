"""Any tests with every data store encrypted: they are run so where LIGHTWELL_TEST_ENCRYPTION is ``always``.

Processes of lightwell are told by their environment, stores that are opened in a process of the tests by
`apply`; what a test says itself of encryption is left as it is. The key of the keys is that in the data
folder on SQLite, as it is for whoever sets nothing else. Tests of what is stored where nothing is encrypted
are marked ``plain``, and left out.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from lightwell.settings import Settings
from lightwell.stores import opening as stores_opening
from lightwell.stores.db.database import Database
from lightwell.stores.keys import opening
from lightwell.stores.keys.providers import KeySettings
from lightwell.stores.keys.ring import KeyRing

KEY_FILE = Path(__file__).with_name("tests.key")
_open_ring = opening.open_ring


def is_on() -> bool:
    return os.environ.get("LIGHTWELL_TEST_ENCRYPTION") == "always"


def always(database: str | None) -> dict[str, str]:
    """Variables for ``encryption = always``. ``database``: its URL, or flags with it; None for SQLite."""
    found = {"LIGHTWELL_ENCRYPTION": "always"}
    if "postgresql" in (database or ""):
        found["LIGHTWELL_ENCRYPTION_KEY_FILE"] = str(KEY_FILE)
    return found


def variables(database: str | None) -> dict[str, str]:
    """Those that a process is given unless its test says something else."""
    return always(database) if is_on() else {}


def apply() -> None:
    """From now on stores that this process opens are encrypted, if the tests are run so."""
    if is_on():
        for module in (opening, stores_opening):
            setattr(module, "open_ring", _open_encrypting)  # noqa: B010 - mypy refuses a plain one


def _open_encrypting(settings: KeySettings, db: Database) -> KeyRing:
    return _open_ring(encrypted(settings), db)


def encrypted(settings: KeySettings) -> KeySettings:
    """The same settings with ``encryption = always``, unless they say something else."""
    if not isinstance(settings, Settings) or (settings.encryption, settings.key_provider) != ("off", "local"):
        return settings
    file = settings.encryption_key_file
    if file is None and not settings.database.startswith("sqlite:"):
        file = KEY_FILE
    return replace(settings, encryption="always", encryption_key_file=file)
