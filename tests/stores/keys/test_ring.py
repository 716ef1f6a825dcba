"""Keys of data stores: made, kept wrapped, found, refused and destroyed; and the packs that they seal."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from lightwell.cli.doctor.data import _check_keys
from lightwell.cli.doctor.warning import DoctorWarning
from lightwell.clock import Ids
from lightwell.domain.datastore import DataStore
from lightwell.domain.states import DatastoreStatus, StorageFormat
from lightwell.errors import ConfigurationError, DamagedError, LightwellError, StorageError
from lightwell.sealing.providers.interface import DataKey, KeyProviderAwayError, KeyProviderError, KeyPurpose
from lightwell.sealing.providers.local_file import LocalFileKeys, new_key_line
from lightwell.settings import Settings
from lightwell.stores.account import datastores
from lightwell.stores.db.database import Database
from lightwell.stores.db.tables import data_key, pack
from lightwell.stores.keys import data_keys
from lightwell.stores.keys import ring as ring_module
from lightwell.stores.keys.data_keys import KeyDestroyedError
from lightwell.stores.keys.granted import GrantedKeys
from lightwell.stores.keys.providers import FILE, provider_of
from lightwell.stores.keys.ring import KeyRing
from lightwell.stores.objects import packs
from lightwell.stores.objects.local import LocalObjects
from lightwell.stores.objects.pack_objects import OpenPack, PackWriter, pack_name
from lightwell.stores.objects.sealed import SealedObjects, SealedPacks

ARN = "arn:aws:kms:us-east-1:123456789012:key/a"
STORE = DataStore(7, "a" * 32, "hospital", DatastoreStatus.ACTIVE, StorageFormat.HTJ2K, None, None, 1, 1)
FRAMES = [os.urandom(60_000), os.urandom(500)]

Written = Callable[..., int]


def settings(data: Path, **more: object) -> Settings:
    return Settings(data=data, **more)  # type: ignore[arg-type]


def ring(db: Database, data: Path, *, always: bool = True, **more: object) -> KeyRing:
    return KeyRing(db, provider_of(settings(data, **more)), always=always, keep=3600.0)


@pytest.fixture
def database_with_store(database: Database) -> Iterator[Database]:
    database.write(lambda conn: datastores.insert(conn, STORE))
    yield database


@pytest.fixture
def written(database_with_store: Database, tmp_path: Path) -> Written:
    """Writes `FRAMES` into a pack of the data store; returns its key."""

    def write(keys: KeyRing, datastore: int = STORE.key) -> int:
        db, objects = database_with_store, LocalObjects(tmp_path / "objects")
        (opened,) = db.write(lambda conn: keys.open_packs(conn, datastore, 1, Ids().key, 1))
        with PackWriter(objects, tmp_path, opened.key, opened.grant) as writer:
            for frame in FRAMES:
                writer.begin_item()
                writer.append(frame)
            facts = writer.finish()
            seals = {} if writer.seal is None else {opened.key: writer.seal}
        db.write(lambda conn: packs.make_live(conn, {opened.key: facts}, seals))
        return opened.key

    return write


def opened(keys: KeyRing, tmp_path: Path) -> SealedObjects:
    return SealedObjects(LocalObjects(tmp_path / "objects"), keys)


def test_a_pack_is_sealed_and_read_by_another_process(
    database_with_store: Database, tmp_path: Path, written: Written
) -> None:
    pack_key = written(ring(database_with_store, tmp_path))
    name = pack_name(pack_key)
    file = (tmp_path / "objects" / name).read_bytes()
    assert FRAMES[0][:64] not in file and FRAMES[1] not in file
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    objects = opened(ring(database_with_store, tmp_path), tmp_path)
    # Nothing is asked on an event loop.
    assert objects.read_warm(name, 0, 100) is None
    assert objects.read(name, 0, 60_000) == FRAMES[0]
    assert objects.read(name, 60_000, 500) == FRAMES[1]
    assert objects.read(name, 59_990, 20) == FRAMES[0][-10:] + FRAMES[1][:10]
    assert objects.read_warm(name, 0, 60_000) in (FRAMES[0], None)
    assert objects.size(name) == len(file)


def test_nothing_is_sealed_without_being_asked(
    database_with_store: Database, tmp_path: Path, written: Written
) -> None:
    keys = ring(database_with_store, tmp_path, always=False)
    name = pack_name(written(keys))
    assert b"".join(FRAMES) == (tmp_path / "objects" / name).read_bytes()
    assert opened(keys, tmp_path).read(name, 60_000, 500) == FRAMES[1]
    assert not (tmp_path / FILE).exists()


def test_a_data_store_with_a_key_of_its_own_is_sealed_whatever_the_setting(
    database_with_store: Database, tmp_path: Path, written: Written
) -> None:
    keys = ring(database_with_store, tmp_path, always=False)
    other = replace(STORE, key=8, id="b" * 32, kms_key_arn=ARN)
    assert keys.first_key(STORE.id, None) is None
    made = keys.first_key(other.id, ARN)
    assert made is not None

    def create(conn):  # type: ignore[no-untyped-def]
        datastores.insert(conn, other)
        keys.add_key(conn, other.key, KeyPurpose(other.id, 1, ARN), made, 55, 1)

    database_with_store.write(create)
    sealed, plain = written(keys, other.key), written(keys)
    assert (tmp_path / "objects" / pack_name(sealed)).read_bytes()[:4] == b"LWS1"
    assert (tmp_path / "objects" / pack_name(plain)).read_bytes() == b"".join(FRAMES)
    with database_with_store.read() as conn:
        assert [store.id for store in datastores.in_vain_with_kms_key(conn)] == []


def test_a_flipped_bit_is_damage_and_is_served_nowhere(
    database_with_store: Database, tmp_path: Path, written: Written
) -> None:
    keys = ring(database_with_store, tmp_path)
    name = pack_name(written(keys))
    path, objects = tmp_path / "objects" / name, opened(keys, tmp_path)
    assert objects.read(name, 0, 60_000) == FRAMES[0]
    whole = path.read_bytes()
    for place in (40, 9_000, 60_060, 60_560):
        changed = bytearray(whole)
        changed[place] ^= 4
        path.write_bytes(changed)
        frame = (0, 60_000) if place < 60_052 else (60_000, 500)
        with pytest.raises(DamagedError):
            objects.read(name, *frame)
        assert objects.read_warm(name, *frame) is None


def test_a_key_file_that_is_lost_is_not_made_anew(
    database_with_store: Database, tmp_path: Path, written: Written
) -> None:
    name = pack_name(written(ring(database_with_store, tmp_path)))
    (tmp_path / FILE).rename(tmp_path / "elsewhere")
    keys = ring(database_with_store, tmp_path)
    for ask in (keys.check, lambda: opened(keys, tmp_path).read(name, 0, 9), lambda: written(keys)):
        with pytest.raises(ConfigurationError, match=r"restore it from your backup"):
            ask()
    assert not (tmp_path / FILE).exists()
    given = ring(database_with_store, tmp_path, encryption_key_file=tmp_path / "elsewhere")
    given.check()
    assert opened(given, tmp_path).read(name, 0, 60_000) == FRAMES[0]


def test_another_key_file_is_refused_and_names_the_key_that_is_missing(
    database_with_store: Database, tmp_path: Path, written: Written
) -> None:
    name = pack_name(written(ring(database_with_store, tmp_path)))
    right = (tmp_path / FILE).read_bytes()
    other = tmp_path / "other"
    other.write_bytes(b"# a comment\n\n" + new_key_line())
    keys = ring(database_with_store, tmp_path, encryption_key_file=other)
    for ask in (keys.check, lambda: opened(keys, tmp_path).read(name, 0, 9)):
        with pytest.raises(KeyProviderError, match=r"is not in .*other"):
            ask()
    # A second line helps, and the first one wraps from now on.
    other.write_bytes(other.read_bytes() + right)
    keys = ring(database_with_store, tmp_path, encryption_key_file=other)
    keys.check()
    assert opened(keys, tmp_path).read(name, 0, 60_000) == FRAMES[0]


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"no key\n", b"QUJD\n", bytes(range(256))])
def test_a_key_file_with_something_else_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="key"):
        LocalFileKeys.read(path)


def test_a_wrapped_key_opens_in_its_own_row_only() -> None:
    keys = LocalFileKeys([b"1" * 32], "here")
    purpose = KeyPurpose("a" * 32, 1, ARN)
    made = keys.make(purpose)
    assert keys.unwrap(made.wrapped, purpose, made.keeper) == made.plain
    others = (
        replace(purpose, datastore="b" * 32),
        replace(purpose, number=2),
        replace(purpose, kms_key_arn=None),
    )
    for other in others:
        with pytest.raises(KeyProviderError):
            keys.unwrap(made.wrapped, other, made.keeper)
    for bit in range(8 * len(made.wrapped)):
        changed = bytearray(made.wrapped)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(KeyProviderError):
            keys.unwrap(bytes(changed), purpose, made.keeper)


def test_no_provider_refuses_what_is_sealed_and_seals_nothing(
    database_with_store: Database, tmp_path: Path, written: Written
) -> None:
    plain_only = ring(database_with_store, tmp_path, always=False, key_provider="none")
    assert plain_only.first_key(STORE.id, ARN) is None
    name = pack_name(written(ring(database_with_store, tmp_path)))
    for ask in (plain_only.check, lambda: opened(plain_only, tmp_path).read(name, 0, 9)):
        with pytest.raises(KeyProviderError, match="key_provider"):
            ask()


def test_makes_no_key_file_where_several_servers_would_each_make_one(tmp_path: Path) -> None:
    url = "postgresql://db/lightwell"
    assert provider_of(settings(tmp_path, database_url=url)) is None
    assert provider_of(settings(tmp_path, database_url=url, encryption_key_file=tmp_path / "key")) is not None
    assert provider_of(settings(tmp_path)) is not None


def test_a_destroyed_key_opens_nothing_any_more(
    database_with_store: Database, tmp_path: Path, written: Written
) -> None:
    name = pack_name(written(ring(database_with_store, tmp_path)))
    database_with_store.write(lambda conn: data_keys.destroy(conn, STORE.key, 5))
    with database_with_store.read() as conn:
        assert [row.wrapped for row in conn.execute(data_key.select())] == [None]
    keys = ring(database_with_store, tmp_path)
    keys.check()
    with pytest.raises(KeyDestroyedError):
        opened(keys, tmp_path).read(name, 0, 9)
    granted, refused, plain = keys.grants([_key(name)])
    assert not granted and not plain and "destroy" not in refused[0][1] and not refused[0][2]


def test_the_newest_key_seals_and_older_ones_open(
    database_with_store: Database, tmp_path: Path, written: Written
) -> None:
    keys = ring(database_with_store, tmp_path)
    first = pack_name(written(keys))

    def rotate(conn):  # type: ignore[no-untyped-def]
        purpose = KeyPurpose(STORE.id, data_keys.next_number(conn, STORE.key), None)
        assert purpose.number == 2
        assert keys.add_key(conn, STORE.key, purpose, keys.provider().make(purpose), 66, 2)
        assert not keys.add_key(conn, STORE.key, purpose, keys.provider().make(purpose), 67, 2)

    database_with_store.write(rotate)
    second = pack_name(written(keys))
    with database_with_store.read() as conn:
        used = {row.key: row.data_key for row in conn.execute(pack.select())}
    assert used[_key(second)] == 66 != used[_key(first)]
    objects = opened(ring(database_with_store, tmp_path), tmp_path)
    assert objects.read(first, 0, 60_000) == objects.read(second, 0, 60_000) == FRAMES[0]


def test_a_pack_is_opened_with_a_key_of_its_own_data_store_alone(
    database_with_store: Database, tmp_path: Path, written: Written
) -> None:
    keys, other = ring(database_with_store, tmp_path), replace(STORE, key=8, id="b" * 32)
    name = pack_name(written(keys))
    database_with_store.write(lambda conn: datastores.insert(conn, other))
    assert opened(keys, tmp_path).read(name, 0, 60_000) == FRAMES[0]
    moved = update(pack).where(pack.c.key == _key(name)).values(datastore=other.key)
    database_with_store.write(lambda conn: conn.execute(moved))
    keys = ring(database_with_store, tmp_path)
    with pytest.raises(DamagedError, match="another data store"):
        opened(keys, tmp_path).read(name, 0, 60_000)
    granted, refused, _ = keys.grants([_key(name)])
    assert not granted and [each[0] for each in refused] == [_key(name)]


class _Away:
    name = "local"

    def make(self, purpose: KeyPurpose) -> DataKey:
        raise KeyProviderAwayError("it is away")

    def unwrap(self, wrapped: bytes, purpose: KeyPurpose, keeper: str) -> bytes:
        raise KeyProviderAwayError("it is away")

    def wrap(self, plain: bytes, purpose: KeyPurpose) -> tuple[bytes, str]:
        raise KeyProviderAwayError("it is away")

    def keeper(self, purpose: KeyPurpose) -> str:
        return "away"


def test_a_key_service_that_is_away_is_said_and_may_come_back(
    database_with_store: Database, tmp_path: Path, written: Written
) -> None:
    right = ring(database_with_store, tmp_path)
    name = pack_name(written(right))
    away = KeyRing(database_with_store, lambda conn: _Away(), always=True, keep=1.0)
    away.check()
    with pytest.raises(KeyProviderAwayError):
        opened(away, tmp_path).read(name, 0, 9)
    assert away.grants([_key(name)])[1] == [(_key(name), "it is away", True)]


def test_a_worker_reads_what_it_was_granted_and_nothing_else(
    database_with_store: Database, tmp_path: Path, written: Written
) -> None:
    keys = ring(database_with_store, tmp_path)
    mine, foreign = written(keys), written(keys)
    own = GrantedKeys()
    own.add(*keys.grants([mine, 12345]))
    objects = SealedPacks(LocalObjects(tmp_path / "objects"), own)
    assert objects.read(pack_name(mine), 0, 60_000) == FRAMES[0]
    with pytest.raises(StorageError, match="not granted"):
        objects.read(pack_name(foreign), 0, 9)
    # The grant of one pack does not open another, whose seal it might get hold of.
    granted, seal = keys.grants([mine])[0][0], keys.grants([foreign])[0][0].seal
    own.add([replace(granted, pack=foreign, seal=seal)], [], [])
    with pytest.raises(DamagedError):
        objects.read(pack_name(foreign), 0, 60_000)


def test_a_pack_that_is_written_is_not_read_yet(database_with_store: Database, tmp_path: Path) -> None:
    keys = ring(database_with_store, tmp_path)
    (one,) = database_with_store.write(lambda conn: keys.open_packs(conn, STORE.key, 1, Ids().key, 1))
    assert isinstance(one, OpenPack) and one.key & 1 and len(one.grant) == 32
    with pytest.raises(StorageError, match="not finished"):
        keys.find(one.key)


def test_old_packs_with_odd_keys_are_plain(database_with_store: Database, tmp_path: Path) -> None:
    keys = ring(database_with_store, tmp_path)
    database_with_store.write(lambda conn: packs.insert_open(conn, [9], STORE.key, 1))
    database_with_store.write(lambda conn: packs.make_live(conn, {9: (5, 1)}))
    with pytest.raises(LookupError):
        keys.known(9)
    assert keys.find(9) is None
    assert keys.known(9) is None
    # Its bytes were wrong: the row is looked at again.
    database_with_store.write(lambda conn: conn.execute(update(pack).values(data_key=1, seal=b"?")))
    keys.forget(9)
    with pytest.raises(StorageError):
        keys.find(9)


def _key(name: str) -> int:
    return int(name[-21:-5], 16)


@pytest.mark.parametrize("is_away", [False, True])
def test_the_doctor_tells_of_each_data_store_whose_key_is_not_to_be_had(
    database_with_store: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_away: bool
) -> None:
    """Also where one key of the same keeper can be opened."""
    db, right = database_with_store, ring(database_with_store, tmp_path)
    for key in (8, 9, 11):
        other = replace(STORE, key=key, id=f"{key:x}" * 32)
        db.write(lambda conn, other=other: datastores.insert(conn, other))  # type: ignore[misc]
    for key in (7, 8, 9, 11):
        db.write(lambda conn, key=key: right.give_key(conn, key, Ids().key, 1))  # type: ignore[misc]
    provider, asked = right.provider(), list[str]()
    unwraps = provider.unwrap

    def unwrap(wrapped: bytes, purpose: KeyPurpose, keeper: str) -> bytes:
        asked.append(purpose.datastore)
        if purpose.datastore[0] in "9b":
            raise KeyProviderAwayError("it is away.") if is_away else KeyProviderError("it was disabled.")
        return unwraps(wrapped, purpose, keeper)

    assert not list(right.not_to_be_had())
    monkeypatch.setattr(provider, "unwrap", unwrap)
    monkeypatch.setattr(ring_module, "_PAGE", 2)
    missing = list(right.not_to_be_had())
    if is_away:
        assert len(missing) == 1 and 1 <= len(asked) < 4
        with pytest.raises(DoctorWarning, match=r"4 data stores encrypted, but .* it is away; run"):
            _check_keys(missing, "4 data stores")
    else:
        assert {key.purpose.datastore for key, _ in missing} == {"9" * 32, "b" * 32} and len(asked) == 4
        with pytest.raises(LightwellError, match=f"it was disabled; this concerns .*{'9' * 32}"):
            _check_keys(missing, "4 data stores")
