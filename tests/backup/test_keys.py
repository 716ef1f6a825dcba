"""A run is read with the keys that it holds itself, whatever was done to keys since or meanwhile."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lightwell.auth import recovery_key
from lightwell.cli.main import main
from lightwell.clock import Ids
from lightwell.errors import ConfigurationError
from lightwell.sealing.providers.local_file import new_key_line
from lightwell.settings import Settings
from lightwell.stores.background.installation import agree_on_storage
from lightwell.stores.backup.runs import Backups
from lightwell.stores.db.database import Database
from lightwell.stores.keys import opening
from lightwell.stores.objects.local import LocalObjects
from lightwell.work.backup.backup import Backup
from tests.support.ct_files import write_series
from tests.support.imports import Importing, importing

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def source(_sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a series, encrypted."""
    data = tmp_path_factory.mktemp("source") / "data"
    made = _place(_sqlite_template, data, encryption="always")
    write_series(made.input, 2)
    made.run()
    made.close()
    return data


def _place(template: Path, data: Path, **settings: Any) -> Importing:
    data.mkdir(mode=0o700, parents=True)
    shutil.copy(template, data / "lightwell.db")
    made = importing(data, f"sqlite:///{data / 'lightwell.db'}", **settings)
    agree_on_storage(made.stores.db, made.stores.objects, Ids().id())
    return made


@pytest.fixture
def data(source: Path, tmp_path: Path) -> Path:
    return shutil.copytree(source, tmp_path / "data")


@pytest.fixture
def recovery(tmp_path: Path) -> Path:
    path = tmp_path / "recovery.key"
    path.write_bytes(new_key_line())
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs ``lightwell data …``: its exit code, and what it said."""
    monkeypatch.setenv("LIGHTWELL_ENCRYPTION", "always")

    def runs(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["data", *map(str, words)])
        said = capsys.readouterr()
        return status, said.out, said.err

    yield runs


def back_up(run: Run, to: Path, data: Path, *words: object) -> str:
    """Make a run; its id."""
    status, out, err = run("backup", to, "--data", data, "--json", *words)
    assert status == 0, err
    id: str = json.loads(out)["run"]
    return id


def replace_key(run: Run, data: Path) -> tuple[bytes, bytes]:
    """As docs/howto/encryption.md says; the old key and the new one."""
    path, new = data / "encryption.key", new_key_line()
    old = path.read_bytes()
    path.write_bytes(new + old)
    assert run("keys", "rewrap", "--data", data)[0] == 0
    path.write_bytes(new)
    return old, new


def make_older(to: Path, id: str) -> None:
    """Make a run one of a version that kept the keys of its newest run only, and no names of key files."""
    path = to / "runs" / f"{id}.json"
    body = json.loads(path.read_bytes())["run"]
    del body["key_files"]
    plain = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    path.write_text(json.dumps({"format": 1, "sha256": hashlib.sha256(plain).hexdigest(), "run": body}))
    (to / "keys" / id).rename(to / "keys" / "current")


def test_each_run_has_its_keys_and_takes_them_along(
    data: Path, recovery: Path, tmp_path: Path, run: Run
) -> None:
    to, given = tmp_path / "to", ("--recovery-key", recovery)
    oldest = back_up(run, to, data, *given)
    make_older(to, oldest)
    replace_key(run, data)
    first = back_up(run, to, data, *given)
    replace_key(run, data)
    # Of a backup that was killed before its manifest.
    (to / "keys" / "stray").write_bytes(b"")
    second = back_up(run, to, data, *given, "--keep", 3)
    assert sorted(path.name for path in (to / "keys").iterdir()) == sorted([first, second, "current"])
    for id in (oldest, first, second):
        status, out, err = run("restore", to, "--run", id, "--data", tmp_path / id, *given)
        assert status == 0 and "2 frames read" in out, err
    listed = run("restore", to, "--list")[1].splitlines()
    assert "yes" in listed[1] and "encryption.key" in listed[2], "what an older run holds nobody has noted"

    back_up(run, to, data, *given, "--keep", 3)
    assert not (to / "keys" / "current").exists(), "the last run that needs it is gone"
    bare = back_up(run, to, data, "--without-keys", "--keep", 2)
    assert len(list((to / "keys").iterdir())) == 1
    status, _, err = run("restore", to, "--data", tmp_path / "bare", *given)
    assert status == 2 and f"{bare} holds no keys" in err and not (tmp_path / "bare").exists()


def test_names_a_missing_key_once_and_goes_on_when_it_is_there(
    data: Path, recovery: Path, tmp_path: Path, run: Run
) -> None:
    to, new = tmp_path / "to", tmp_path / "new"
    back_up(run, to, data, "--recovery-key", recovery)
    key = (data / "encryption.key").read_bytes()
    new.mkdir(mode=0o700)
    (new / "encryption.key").write_bytes(new_key_line())
    (new / "encryption.key").chmod(0o600)
    status, out, err = run("restore", to, "--data", new)
    assert status == 1 and not out
    assert err.count("is wrapped under the key") == 1 and "Run the same command again" in err
    assert "--recovery-key" in err and "take another run" not in err
    (new / "encryption.key").write_bytes(new_key_line() + key)
    status, out, err = run("restore", to, "--data", new, "--recovery-key", recovery)
    assert status == 0 and "2 frames read" in out, err


def test_holds_the_key_of_what_was_encrypted_first_while_packs_were_copied(
    _sqlite_template: Path, recovery: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = _place(_sqlite_template, tmp_path / "data")
    settings, to = place.settings, tmp_path / "to"
    place.close()
    good = Backup._copy

    def copy(self: Backup, *given: Any, **named: Any) -> None:
        if not (settings.data / "encryption.key").exists():
            _encrypt(settings)
        good(self, *given, **named)

    monkeypatch.setattr(Backup, "_copy", copy)
    status, _, err = run("backup", to, "--data", settings.data)
    assert status == 2 and "nobody can read the backup: give --recovery-key" in err
    assert Backups(LocalObjects(to)).runs() == []

    (settings.data / "encryption.key").unlink()
    db = Database(settings.database)
    db.write(lambda conn: conn.exec_driver_sql("DELETE FROM data_key"))
    db.close()
    status, out, err = run("backup", to, "--data", settings.data, "--recovery-key", recovery)
    assert status == 0, err
    assert "The secret key is NOT in it" in out, "there is none"
    backups = Backups(LocalObjects(to))
    found = backups.keys_of(backups.run(backups.runs()[0]))
    assert found is not None
    key = recovery_key.unseal(recovery_key.open_recovery_key(recovery), found[1], found[0])
    assert key == {"encryption.key": (settings.data / "encryption.key").read_text()}


def _encrypt(settings: Settings) -> None:
    """Give the first data store a key, as its first import does."""
    db = Database(settings.database)
    ring = opening.open_ring(Settings(data=settings.data, encryption="always"), db)
    db.write(lambda conn: ring.give_key(conn, _store(conn), Ids().key, 1))
    db.close()


def _store(conn: Any) -> int:
    return int(conn.exec_driver_sql("SELECT key FROM datastore").scalar_one())


def test_refuses_a_backup_that_its_keys_do_not_open(
    data: Path, recovery: Path, tmp_path: Path, run: Run
) -> None:
    """Also where only one of two data stores is concerned."""
    to, given = tmp_path / "to", ("--recovery-key", recovery)
    key = data / "encryption.key"
    db = Database(f"sqlite:///{data / 'lightwell.db'}")
    other = db.write(lambda conn: _another_store(conn))
    old = key.read_bytes()
    key.write_bytes(new_key_line() + old)
    ring = opening.open_ring(Settings(data=data, encryption="always"), db)
    db.write(lambda conn: ring.give_key(conn, other, Ids().key, 1))
    db.close()
    both = key.read_bytes()
    for lines in (old, both.removesuffix(old)):
        key.write_bytes(lines)
        status, _, err = run("backup", to, "--data", data, *given)
        assert status == 1 and "is wrapped under the key" in err and "Nobody could read such a backup" in err
    key.unlink()
    status, _, err = run("backup", to, "--data", data, *given)
    assert status == 2 and "which is not there" in err
    status, out, _ = run("backup", to, "--data", data, *given, "--without-keys")
    assert status == 0 and "The encryption key is NOT in it" in out
    key.write_bytes(both)
    assert back_up(run, to, data, *given)


def _another_store(conn: Any) -> int:
    columns = [row[1] for row in conn.exec_driver_sql("PRAGMA table_info(datastore)")]
    taken = ["99" if name == "key" else f"'{'b' * 32}'" if name == "id" else name for name in columns]
    conn.exec_driver_sql(f"INSERT INTO datastore SELECT {', '.join(taken)} FROM datastore")
    return 99


def test_says_what_is_wrong_with_the_keys_of_a_run(
    data: Path, recovery: Path, tmp_path: Path, run: Run
) -> None:
    to = tmp_path / "to"
    id = back_up(run, to, data, "--recovery-key", recovery)
    (to / "keys" / id).unlink()
    status, _, err = run("restore", to, "--data", tmp_path / "new", "--recovery-key", recovery)
    assert status == 1 and f"keys/{id} is missing or damaged" in err
    shutil.copy(to / "runs" / f"{id}.json", to / "runs" / "other.json")
    with pytest.raises(Exception, match="missing or damaged"):
        Backups(LocalObjects(to)).run("other")
    with pytest.raises(ConfigurationError, match="no run nothing"):
        Backups(LocalObjects(to)).run("nothing")
