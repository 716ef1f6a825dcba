"""The ring of keys that the settings ask for."""

from __future__ import annotations

from lightwell.stores.db.database import Database
from lightwell.stores.keys.providers import KeySettings, openers, provider_of
from lightwell.stores.keys.ring import KeyRing


def open_ring(settings: KeySettings, db: Database) -> KeyRing:
    """It comes with all connections. Nothing is asked and no file is read before the first key is needed."""
    ring = KeyRing(
        db,
        provider_of(settings),
        always=settings.encryption == "always",
        keep=float(settings.key_cache),
        others=openers(settings),
    )
    db.carry(ring)
    return ring
