"""One database, one storage: who brings another is refused, and who brings it back is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection

from lightwell.domain.states import ServerRole
from lightwell.errors import ConfigurationError, StorageUnavailableError
from lightwell.stores.background import installation, servers
from lightwell.stores.background.installation import MARKER, agree_on_storage, check_storage
from lightwell.stores.background.servers import Server
from lightwell.stores.db.database import Database
from lightwell.stores.objects import pack_objects, packs
from lightwell.stores.objects.local import LocalObjects

A = Server("nodeaaaa", "a (/a)", "run1")
W = Server("nodeaaaa", "a (/a)", "run1", ServerRole.WORKER)
B = Server("nodebbbb", "b (/b)", "run1")


@pytest.fixture
def db(migrated_postgres_url: str) -> Database:
    return Database(migrated_postgres_url)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "_FIRST_START_SECONDS", 0.5)


def register(db: Database, one: Server) -> None:
    db.write(lambda conn: servers.register(conn, one, "AKIA", changes_root=False))


def test_refuses_a_folder_that_only_one_machine_has(db: Database, tmp_path: Path) -> None:
    theirs, ours = LocalObjects(tmp_path / "a"), LocalObjects(tmp_path / "b")
    register(db, A)
    agree_on_storage(db, theirs, "1" * 32, A)
    assert theirs.get(MARKER) == b"1" * 32
    agree_on_storage(db, theirs, "2" * 32, B)
    agree_on_storage(db, theirs, "2" * 32, W)
    for one in (B, W):
        with pytest.raises(ConfigurationError, match=r"a \(/a\) use.*LIGHTWELL_STORAGE_URL"):
            agree_on_storage(db, ours, "2" * 32, one)
    assert ours.get(MARKER) is None
    ours.put(MARKER, b"3" * 32)
    with pytest.raises(ConfigurationError, match=str(tmp_path / "b")):
        agree_on_storage(db, ours, "2" * 32, A)
    db.close()


def test_takes_a_storage_that_has_the_packs_but_lost_its_id(db: Database, tmp_path: Path) -> None:
    storage, empty = LocalObjects(tmp_path / "a"), LocalObjects(tmp_path / "b")
    agree_on_storage(db, storage, "1" * 32, A)
    storage.put(pack_objects.pack_name(7), b"bytes")

    def work(conn: Connection) -> None:
        packs.insert_open(conn, [7], 1, 1)
        packs.make_live(conn, {7: (5, 1)})

    db.write(work)
    with pytest.raises(ConfigurationError, match="mounted"):
        agree_on_storage(db, empty, "2" * 32, A)
    with pytest.raises(ConfigurationError, match="mounted"):
        check_storage(db, empty)
    storage.delete(MARKER)
    check_storage(db, storage)
    assert storage.get(MARKER) is None, "a command changes nothing"
    agree_on_storage(db, storage, "2" * 32, A)
    assert storage.get(MARKER) == b"1" * 32
    db.close()


def test_refuses_another_storage_of_a_database_that_has_no_id_yet(db: Database, tmp_path: Path) -> None:
    storage, empty = LocalObjects(tmp_path / "a"), LocalObjects(tmp_path / "b")
    check_storage(db, empty)  # nothing is stored yet
    storage.put(pack_objects.pack_name(7), b"bytes")
    db.write(lambda conn: packs.insert_open(conn, [7], 1, 1))
    db.write(lambda conn: packs.make_live(conn, {7: (5, 1)}))
    check_storage(db, storage)
    with pytest.raises(ConfigurationError):
        check_storage(db, empty)
    with pytest.raises(ConfigurationError):
        agree_on_storage(db, empty, "1" * 32, A)
    assert empty.get(MARKER) is None
    agree_on_storage(db, storage, "2" * 32, A)
    check_storage(db, storage)
    db.close()


@pytest.mark.parametrize("id", ["9" * 32, "moving 9"])
def test_a_new_database_does_not_take_the_empty_storage_of_another(
    database_url: str, tmp_path: Path, id: str
) -> None:
    db, storage = Database(database_url), LocalObjects(tmp_path / "a")
    storage.put(MARKER, id.encode())
    is_embedded = db.dialect == "sqlite" and not id.startswith("moving")
    if is_embedded:  # such as one whose database was deleted before anything was stored
        agree_on_storage(db, storage, "1" * 32)
    else:
        with pytest.raises(ConfigurationError, match=r"delete the object storage\.id"):
            agree_on_storage(db, storage, "1" * 32)
    assert storage.get(MARKER) == id.encode()
    storage.delete(MARKER)
    agree_on_storage(db, storage, "1" * 32)
    assert storage.get(MARKER) == (b"9" if is_embedded else b"1") * 32
    db.close()


def test_lets_nobody_wait_for_a_storage_that_is_away(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(self: LocalObjects, key: str) -> bytes:
        raise StorageUnavailableError("gone")

    monkeypatch.setattr(LocalObjects, "get", away)
    agree_on_storage(db, LocalObjects(tmp_path / "a"), "1" * 32, A)
    assert "not known yet: gone" in caplog.text
    db.close()


def named(db: Database, *keys: int) -> None:
    """Live packs of a database."""

    def work(conn: Connection) -> None:
        packs.insert_open(conn, keys, 1, 1)
        packs.make_live(conn, {key: (5, 1) for key in keys})

    db.write(work)


def test_a_new_database_takes_no_storage_with_packs_of_another(database_url: str, tmp_path: Path) -> None:
    db, storage = Database(database_url), LocalObjects(tmp_path / "a")
    storage.put(MARKER, b"9" * 32)
    storage.put(pack_objects.pack_name(7), b"bytes")
    with pytest.raises(ConfigurationError, match=r"objects of another installation.*new"):
        agree_on_storage(db, storage, "1" * 32)
    storage.delete(MARKER)
    with pytest.raises(ConfigurationError, match=r"objects of another installation.*new"):
        agree_on_storage(db, storage, "1" * 32)
    assert storage.get(MARKER) is None
    named(db, 7)  # as in a database that was restored from before there were ids
    storage.put(MARKER, b"9" * 32)
    agree_on_storage(db, storage, "1" * 32)
    agree_on_storage(db, storage, "2" * 32)
    installation.check_before_removal(db, storage)
    assert storage.get(MARKER) == b"9" * 32
    db.close()


def test_tells_at_any_time_whose_the_storage_is(database_url: str, tmp_path: Path) -> None:
    db, storage = Database(database_url), LocalObjects(tmp_path / "a")
    installation.check_before_removal(db, storage)  # neither has an id
    agree_on_storage(db, storage, "1" * 32)
    assert not installation.is_of_another(db, storage)
    storage.put(MARKER, b"9" * 32)
    assert installation.is_of_another(db, storage)
    with pytest.raises(ConfigurationError, match="that of another database"):
        installation.check_before_removal(db, storage)
    with pytest.raises(ConfigurationError, match="that of another database"):
        agree_on_storage(db, storage, "2" * 32)
    storage.delete(MARKER)
    assert not installation.is_of_another(db, storage)
    with pytest.raises(ConfigurationError, match=r"has no storage\.id"):
        installation.check_before_removal(db, storage)
    db.close()


def test_a_data_folder_starts_wherever_it_is_and_whatever_was_restored(
    migrated_sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    db, storage = Database(migrated_sqlite_url), LocalObjects(tmp_path / "a")
    agree_on_storage(db, storage, "1" * 32)
    named(db, 7)
    storage.put(pack_objects.pack_name(7), b"bytes")
    storage.root.rename(tmp_path / "moved")
    agree_on_storage(db, LocalObjects(tmp_path / "moved"), "2" * 32)
    (tmp_path / "moved" / MARKER).unlink()  # objects of a backup from before there were ids
    agree_on_storage(db, LocalObjects(tmp_path / "moved"), "3" * 32)
    assert (tmp_path / "moved" / MARKER).read_bytes() == b"1" * 32
    unmounted = LocalObjects(tmp_path / "unmounted")
    agree_on_storage(db, unmounted, "4" * 32)
    assert "is its disk mounted" in caplog.text and unmounted.get(MARKER) is None
    db.close()
