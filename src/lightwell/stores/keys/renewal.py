"""Keys of data stores renewed: another that seals from now on, or the same ones wrapped anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lightwell.errors import LightwellError
from lightwell.sealing.providers.interface import KeyProviderError, KeyPurpose
from lightwell.stores.db.database import Database
from lightwell.stores.keys import data_keys
from lightwell.stores.keys.data_keys import StoredKey
from lightwell.stores.keys.ring import KeyRing

_PAGE = 200


def rotate(db: Database, ring: KeyRing, datastore_key: int, new_key: Callable[[], int], now: int) -> int:
    """Give a data store another key, which seals what is written from now on. Returns its number.

    What older keys have sealed stays as it is, and they stay. ``now`` is ms since the epoch.
    Raises `LightwellError` where the data store has no key, `StorageError` as the provider does.
    """
    while True:
        with db.read() as conn:
            if data_keys.newest(conn, datastore_key) is None:
                raise LightwellError(
                    "The data store has no key, so there is none to rotate: nothing in it is encrypted. With "
                    "encryption = always it gets one with the next import"
                )
            id, arn = data_keys.id_and_arn(conn, datastore_key)
            purpose = KeyPurpose(id, data_keys.next_number(conn, datastore_key), arn)
        made = ring.provider().make(purpose)
        row = new_key()
        if db.write(
            lambda conn, row=row, purpose=purpose, made=made: ring.add_key(  # type: ignore[misc]
                conn, datastore_key, purpose, made, row, now
            )
        ):
            return purpose.number


@dataclass(slots=True)
class Rewrapped:
    """How many keys were wrapped anew, and how many were so already; why others were not, by data store."""

    done: int = 0
    already: int = 0
    refused: dict[str, str] = field(default_factory=dict)


def rewrap(db: Database, ring: KeyRing) -> Rewrapped:
    """Put all data keys under the newest key of the provider of the settings.

    Each is one transaction: what is interrupted anywhere has changed whole rows, and to do it again does the
    rest. Raises `KeyProviderAwayError` where the provider cannot be asked now.
    """
    report, after = Rewrapped(), -1
    provider = ring.provider()
    while True:
        with db.read() as conn:
            page = data_keys.page(conn, after, _PAGE)
        if not page:
            return report
        for stored in page:
            if (stored.provider, stored.keeper) == (provider.name, provider.keeper(stored.purpose)):
                report.already += 1
                continue
            try:
                wrapped, keeper = provider.wrap(ring.unwrapped_now(stored), stored.purpose)
            except KeyProviderError as error:
                report.refused[stored.purpose.datastore] = str(error)
                continue
            report.done += _put(db, stored, wrapped, provider.name, keeper)
        after = page[-1].key


def _put(db: Database, old: StoredKey, wrapped: bytes, provider: str, keeper: str) -> bool:
    return db.write(lambda conn: data_keys.put_wrapped(conn, old, wrapped, provider, keeper))
