"""Keys of data stores rotated, and wrapped anew under another key or by another provider."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import select, update

from lightwell.clock import Clock, Ids
from lightwell.codec_pool.store_committer import StoreCommitter, StoreTarget
from lightwell.domain.datastore import DataStore
from lightwell.domain.states import DatastoreStatus, StorageFormat
from lightwell.errors import LightwellError
from lightwell.sealing.providers.interface import DataKey, KeyProviderAwayError, KeyProviderError, KeyPurpose
from lightwell.sealing.providers.local_file import LocalFileKeys
from lightwell.settings import Settings
from lightwell.stores.account import datastores
from lightwell.stores.db.database import Database
from lightwell.stores.db.tables import data_key, pack
from lightwell.stores.keys import data_keys, renewal, values
from lightwell.stores.keys import ring as ring_module
from lightwell.stores.keys.ring import KeyRing
from tests.support import image_set_builders

STORES = [
    DataStore(n, f"{n:032x}", f"store{n}", DatastoreStatus.ACTIVE, StorageFormat.HTJ2K, None, None, n, n)
    for n in (1, 2, 3)
]
OLD, NEW = b"o" * 32, b"n" * 32


class Service(LocalFileKeys):
    """A provider of another name, which may be away, or refuse a data store."""

    name = "service"
    away = False
    asked = 0
    refuses = ""

    def wrap(self, plain: bytes, purpose: KeyPurpose) -> tuple[bytes, str]:
        self._ask(purpose)
        return super().wrap(plain, purpose)

    def unwrap(self, wrapped: bytes, purpose: KeyPurpose, keeper: str) -> bytes:
        self._ask(purpose)
        return super().unwrap(wrapped, purpose, keeper)

    def make(self, purpose: KeyPurpose) -> DataKey:
        self._ask(purpose)
        return super().make(purpose)

    def _ask(self, purpose: KeyPurpose) -> None:
        self.asked += 1
        if self.away:
            raise KeyProviderAwayError("it is away")
        if purpose.datastore == self.refuses:
            raise KeyProviderError("it refuses")


def ring(db: Database, *keys: bytes, keep: float = 3600.0) -> KeyRing:
    return KeyRing(db, lambda conn: LocalFileKeys(keys, "the file"), always=True, keep=keep)


@pytest.fixture
def sealed(database: Database) -> Iterator[tuple[Database, list[bytes]]]:
    """A database with a data store for each of `STORES`, and a value that was sealed in each."""
    keys = ring(database, OLD)
    for store in STORES:
        database.write(lambda conn, store=store: datastores.insert(conn, store))  # type: ignore[misc]
    made = []
    for store in STORES:
        database.write(
            lambda conn, store=store: keys.open_packs(conn, store.key, 1, Ids().key, 1)  # type: ignore[misc]
        )
        with database.read() as conn:
            sealer = keys.value_sealer(conn, store.key)
        assert sealer is not None
        made.append(sealer.seal(b"x", b"secret"))
    yield database, made


def opens(db: Database, keys: KeyRing, made: list[bytes]) -> bool:
    db.close()
    db.carry(keys)
    with db.read() as conn:
        return all(values.opened_about(conn, b"x", one) == b"secret" for one in made)


def test_rotation_seals_with_another_key_and_opens_what_the_old_one_has_sealed(
    sealed: tuple[Database, list[bytes]], tmp_path: Path
) -> None:
    db, made = sealed
    keys = ring(db, OLD)
    with db.read() as conn:
        before = keys.value_sealer(conn, 1)
    assert renewal.rotate(db, keys, 1, Ids().key, 5) == 2
    with db.read() as conn:
        after = keys.value_sealer(conn, 1)
        listed = [(key.name, key.number, key.packs) for key in data_keys.listed(conn)]
    assert before is not None and after is not None and before is not after
    assert listed == [("store1", 1, 1), ("store1", 2, 0), ("store2", 1, 1), ("store3", 1, 1)]
    assert opens(db, ring(db, OLD), [*made, after.seal(b"x", b"secret")])
    # The level blocks of both keys are found again.
    with db.read() as conn:
        assert len(ring(db, OLD).value_ciphers(conn, 1)) == 2


def test_what_has_no_key_is_not_rotated(database: Database) -> None:
    database.write(lambda conn: datastores.insert(conn, STORES[0]))
    with pytest.raises(LightwellError, match="no key"):
        renewal.rotate(database, ring(database, OLD), 1, Ids().key, 5)


def test_keys_are_wrapped_under_the_first_line_of_the_file(sealed: tuple[Database, list[bytes]]) -> None:
    db, made = sealed
    assert not opens_without(db, made, NEW)
    report = renewal.rewrap(db, ring(db, NEW, OLD))
    assert (report.done, report.already, report.refused) == (3, 0, {})
    assert renewal.rewrap(db, ring(db, NEW, OLD)).already == 3
    assert opens(db, ring(db, NEW), made)


def opens_without(db: Database, made: list[bytes], *keys: bytes) -> bool:
    try:
        return opens(db, ring(db, *keys), made)
    except KeyProviderError:
        return False


def test_an_interrupted_rewrap_leaves_all_readable_and_goes_on(sealed: tuple[Database, list[bytes]]) -> None:
    db, made = sealed
    service = Service([NEW], "the service")
    keys = KeyRing(
        db,
        lambda conn: service,
        always=True,
        keep=0.0,
        others={"local": lambda conn: LocalFileKeys([OLD], "the file")},
    )
    service.refuses = STORES[1].id
    report = renewal.rewrap(db, keys)
    assert (report.done, report.already) == (2, 0) and list(report.refused) == [STORES[1].id]
    service.away = True
    with pytest.raises(KeyProviderAwayError):
        renewal.rewrap(db, keys)
    service.away, service.refuses = False, ""
    assert opens(db, keys, made)
    report = renewal.rewrap(db, keys)
    assert (report.done, report.already, report.refused) == (1, 2, {})
    with db.read() as conn:
        assert {row.provider for row in conn.execute(data_key.select())} == {"service"}
    # The file is needed no more.
    assert opens(db, KeyRing(db, lambda conn: service, always=True, keep=1.0), made)


def test_a_key_that_was_destroyed_meanwhile_stays_destroyed(sealed: tuple[Database, list[bytes]]) -> None:
    db, _ = sealed
    with db.read() as conn:
        first = data_keys.page(conn, -1, 1)[0]
    db.write(lambda conn: conn.execute(update(data_key).values(wrapped=None, destroyed_at=7)))
    assert not db.write(lambda conn: data_keys.put_wrapped(conn, first, b"w", "local", "k"))
    assert renewal.rewrap(db, ring(db, NEW, OLD)).done == 0


def test_what_is_in_memory_is_readable_while_the_service_is_away_but_not_once_it_refuses(
    sealed: tuple[Database, list[bytes]],
) -> None:
    db, made = sealed
    renewal.rewrap(
        db,
        KeyRing(
            db,
            lambda conn: Service([NEW], "the service"),
            always=True,
            keep=1.0,
            others={"local": lambda conn: LocalFileKeys([OLD], "the file")},
        ),
    )
    service = Service([NEW], "the service")
    keys = KeyRing(db, lambda conn: service, always=True, keep=0.0)  # asked each time
    assert opens(db, keys, made)
    service.away = True
    assert opens(db, keys, made)
    with pytest.raises(KeyProviderAwayError):
        keys.first_key("f" * 32, None)
    with pytest.raises(KeyProviderAwayError):
        opens(db, KeyRing(db, lambda conn: service, always=True, keep=0.0), made)
    service.away, service.refuses = False, STORES[0].id
    with pytest.raises(KeyProviderError, match="refuses"):
        opens(db, keys, made)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of the clock that rings of keys go by."""
    seconds = [1000.0]
    monkeypatch.setattr(ring_module, "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    return seconds


def test_no_transaction_waits_for_a_key_service_of_a_data_store_that_is_written_to(
    database: Database, now: list[float]
) -> None:
    """It is asked again before its time, and outside of transactions, also while it is away."""
    service = Service([OLD], "the service")
    keys = KeyRing(database, lambda conn: service, always=True, keep=300.0)
    database.write(lambda conn: datastores.insert(conn, STORES[0]))
    assert keys.prepare(1) is None  # the first key is made with the first pack

    def write() -> None:
        before = service.asked
        database.write(lambda conn: keys.open_packs(conn, 1, 1, Ids().key, 1))
        database.write(lambda conn: keys.value_sealer(conn, 1))
        assert service.asked == before

    database.write(lambda conn: keys.open_packs(conn, 1, 1, Ids().key, 1))
    now[0] += 16
    assert keys.prepare(1) is not None
    asked = service.asked
    for _ in range(100):  # 20 minutes
        now[0] += 12
        keys.prepare(1)
        write()
    assert 4 <= service.asked - asked <= 6
    service.away = True
    for _ in range(100):
        now[0] += 12
        keys.prepare(1)
        write()
    # Nothing is in memory: it fails before a transaction begins.
    fresh = KeyRing(database, lambda conn: service, always=True, keep=300.0)
    for _ in range(2):
        with pytest.raises(KeyProviderAwayError):
            fresh.prepare(1)


def test_stow_seals_with_another_key_soon_after_a_rotation(
    database_url: str, tmp_path: Path, now: list[float]
) -> None:
    """Also with the packs that were announced before it."""
    stores = image_set_builders.open_at(tmp_path, database_url)
    try:
        keys = KeyRing(stores.db, lambda conn: LocalFileKeys([OLD], "a file"), always=True, keep=300.0)
        stores = replace(stores, keys=keys)
        key, id = stores.db.write(image_set_builders.datastore)
        settings = Settings(data=tmp_path, database_url=database_url)
        committer = StoreCommitter(stores, settings, Clock(), Ids())
        target = StoreTarget(key, id, "HTJ2K")

        def number() -> int:
            (opened,) = committer.open_packs(target, 1)
            with stores.db.read() as conn:
                of_pack = select(data_key.c.number).join(pack, pack.c.data_key == data_key.c.key)
                return int(conn.execute(of_pack.where(pack.c.key == opened.key)).scalar_one())

        assert [number(), number()] == [1, 1]
        renewal.rotate(stores.db, keys, key, Ids().key, 5)
        now[0] += 16
        assert [number(), number()] == [2, 2]
    finally:
        stores.close()
