"""No write transaction is open while a key provider is asked, whatever it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from sqlalchemy import Connection, func, select, update

from lightwell.clock import Ids
from lightwell.domain.datastore import DataStore
from lightwell.domain.states import DatastoreStatus, StorageFormat
from lightwell.sealing.providers.interface import (
    DataKey,
    KeyProvider,
    KeyProviderAwayError,
    KeyProviderError,
    KeyPurpose,
)
from lightwell.stores.account import datastores
from lightwell.stores.db.database import Database
from lightwell.stores.db.tables import data_key, datastore, pack
from lightwell.stores.keys import data_keys, renewal
from lightwell.stores.keys import ring as ring_module
from lightwell.stores.keys.data_keys import KeyDestroyedError
from lightwell.stores.keys.ring import KeyRing
from lightwell.stores.transactions import outside
from tests.encryption.watched import WatchedKeys

STORE = DataStore(7, "a" * 32, "hospital", DatastoreStatus.ACTIVE, StorageFormat.HTJ2K, None, None, 1, 1)


@pytest.fixture
def watched(database: Database) -> Iterator[WatchedKeys]:
    database.write(lambda conn: datastores.insert(conn, STORE))
    keys = WatchedKeys()
    keys.db = database
    yield keys


def ring(db: Database, keys: KeyProvider, keep: float = 3600.0) -> KeyRing:
    return KeyRing(db, lambda conn: keys, always=True, keep=keep)


def keys_in(db: Database) -> int:
    with db.read() as conn:
        return int(conn.execute(select(func.count()).select_from(data_key)).scalar_one())


def open_pack(db: Database, of: KeyRing) -> int:
    (opened,) = db.write(lambda conn: of.open_packs(conn, STORE.key, 1, Ids().key, 1))
    return opened.key


def test_the_first_key_is_made_before_the_transaction_that_needs_it(
    database: Database, watched: WatchedKeys
) -> None:
    keys = ring(database, watched)
    open_pack(database, keys)
    assert watched.taken() == ["make", "unwrap"] and keys_in(database) == 1
    open_pack(database, keys)
    database.write(lambda conn: keys.give_key(conn, STORE.key, Ids().key, 1))
    assert watched.taken() == [] and keys_in(database) == 1


def test_a_first_key_that_another_process_makes_meanwhile_is_the_one(
    database: Database, watched: WatchedKeys
) -> None:
    other = ring(database, WatchedKeys())

    class Slow(WatchedKeys):
        def make(self, purpose: KeyPurpose) -> DataKey:
            open_pack(database, other)
            return super().make(purpose)

    slow = Slow()
    own = open_pack(database, ring(database, slow))
    assert slow.taken() == ["make", "unwrap"] and keys_in(database) == 1
    with database.read() as conn:
        used = conn.execute(select(pack.c.data_key).where(pack.c.key == own)).scalar_one()
        assert used == conn.execute(select(data_key.c.key)).scalar_one()


def test_all_older_keys_of_a_data_store_take_one_more_try(database: Database, watched: WatchedKeys) -> None:
    keys, tries = ring(database, watched), []
    open_pack(database, keys)
    for _ in range(3):
        renewal.rotate(database, keys, STORE.key, Ids().key, 5)
    watched.taken()
    keys = ring(database, watched)

    def work(conn: Connection) -> int:
        tries.append(1)
        return len(keys.value_ciphers(conn, STORE.key))

    # The first is given up for the provider, which is opened.
    assert database.write(work) == 4 and len(tries) == 3
    assert watched.taken() == ["unwrap"] * 4
    assert database.write(work) == 4 and len(tries) == 4


def test_what_is_opened_value_by_value_asks_for_all_keys_of_its_data_store_at_once(
    database: Database, watched: WatchedKeys
) -> None:
    keys, tries = ring(database, watched), []
    open_pack(database, keys)
    for _ in range(5):
        renewal.rotate(database, keys, STORE.key, Ids().key, 5)
    watched.taken()
    keys = ring(database, watched)

    def work(conn: Connection) -> int:
        tries.append(1)
        rows = conn.execute(select(data_key.c.key)).scalars().all()
        return len({id(keys.value_cipher(row, conn)) for row in rows})

    assert database.write(work) == 6 and len(tries) == 3
    assert watched.taken() == ["unwrap"] * 6


def test_a_key_that_cannot_be_had_is_no_matter_of_values_under_another(
    database: Database, watched: WatchedKeys
) -> None:
    keys = ring(database, watched)
    open_pack(database, keys)
    renewal.rotate(database, keys, STORE.key, Ids().key, 5)
    with database.read() as conn:
        newest, older = data_keys.living(conn, STORE.key)
    database.write(
        lambda conn: conn.execute(
            update(data_key).values(wrapped=b"damaged").where(data_key.c.key == older.key)
        )
    )
    keys = ring(database, watched)
    assert database.write(lambda conn: keys.value_cipher(newest.key, conn)) is not None
    with pytest.raises(KeyProviderError):
        database.write(lambda conn: keys.value_cipher(older.key, conn))


def test_a_data_store_that_was_deleted_gets_no_key(database: Database, watched: WatchedKeys) -> None:
    database.write(lambda conn: conn.execute(update(datastore).values(status=DatastoreStatus.DELETED)))
    with pytest.raises(KeyDestroyedError, match="was deleted"):
        open_pack(database, ring(database, watched))
    assert watched.taken() == [] and keys_in(database) == 0


def test_keys_are_rotated_and_wrapped_anew_while_no_transaction_is_open(
    database: Database, watched: WatchedKeys
) -> None:
    keys = ring(database, watched, keep=0.0)
    open_pack(database, keys)
    watched.taken()
    renewal.rotate(database, keys, STORE.key, Ids().key, 5)
    assert watched.taken() == ["make"]
    newer = WatchedKeys(b"n" * 32, b"w" * 32)
    newer.db = database
    assert renewal.rewrap(database, ring(database, newer)).done == 2
    assert newer.taken() == ["unwrap", "wrap"] * 2


def test_a_provider_that_is_away_is_an_error_of_who_needs_it_in_the_transaction(
    database: Database, watched: WatchedKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ring(database, watched, keep=300.0)
    watched.away = True
    with pytest.raises(KeyProviderAwayError):
        open_pack(database, keys)

    def work(conn: Connection) -> str:
        try:
            keys.give_key(conn, STORE.key, Ids().key, 1)
        except KeyProviderAwayError:
            return "it is away"
        return "it is there"

    assert database.write(work) == "it is away" and keys_in(database) == 0
    watched.away = False
    assert database.write(work) == "it is there" and keys_in(database) == 1
    # What is in memory is good while it is away; that is found out without a transaction, too.
    seconds = [1e9]
    monkeypatch.setattr(ring_module, "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    watched.away = True
    assert database.write(work) == "it is there"
    assert watched.taken() == ["make", "make", "make", "unwrap", "unwrap"]


def test_a_provider_is_opened_outside_of_transactions(database: Database, watched: WatchedKeys) -> None:
    """What opens it imports the library of a key service, or makes a file. Also the one of before."""
    opened, watched.name = list[tuple[str, bool]](), "before"

    def opener(name: str, keys: WatchedKeys) -> ring_module.OpenProvider:
        def open(conn: Connection) -> KeyProvider:
            opened.append((name, outside.is_inside()))
            assert conn.execute(select(func.count()).select_from(data_key)).scalar() is not None
            return keys

        return open

    open_pack(database, KeyRing(database, opener("before", watched), always=True, keep=3600.0))
    others = {"before": opener("before", watched)}
    now = KeyRing(database, opener("now", WatchedKeys()), always=True, keep=3600.0, others=others)
    open_pack(database, now)
    assert opened == [("before", False), ("now", False), ("before", False)]
    assert watched.taken() == ["make", "unwrap", "unwrap"]
