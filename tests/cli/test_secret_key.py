"""A data folder whose secret key is not the one of its database."""

from __future__ import annotations

import base64
import multiprocessing
import os
import shutil
from pathlib import Path

import pytest

from lightwell.auth.principals import Credentials, encrypted_key, ensure_secret_box, new_credentials
from lightwell.auth.secret_box import SecretBox, open_secret_box
from lightwell.cli.doctor.data import secrets
from lightwell.cli.doctor.warning import DoctorWarning
from lightwell.cli.server.serve import prepare
from lightwell.errors import ConfigurationError
from lightwell.settings import load
from lightwell.stores.account import principals
from lightwell.stores.db.database import Database
from tests.cli.running import Done, doctor_here, lightwell, lightwell_here
from tests.support.ct_files import write_series

OTHER = base64.b64encode(b"o" * 32).decode()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder that was served once."""
    folder = tmp_path / "data"
    assert prepare(load({"data": folder}, environ={}, file=None)) == 0
    return folder


def break_it(data: Path, how: str) -> dict[str, str]:
    """Answers what the environment has to say besides."""
    key = data / "secret.key"
    if how == "missing":
        key.unlink()
    elif how == "another":
        key.write_text(OTHER)
    elif how == "nonsense":
        key.write_text("nonsense")
    elif how == "unreadable":
        key.unlink()
        key.mkdir(0o700)
    else:
        return {"LIGHTWELL_SECRET_KEY": OTHER}
    return {}


FAULTS = {
    "missing": "secret.key is missing",
    "another": "under a secret key other than",
    "nonsense": "is not a secret key",
    "unreadable": "cannot be read",
    "setting": "under a secret key other than the setting secret_key",
}


def key_names(data: Path) -> list[str]:
    return [key["name"] for key in lightwell_here("key", "list", "--json", data=data).json()]


def refuses(done: Done, sentence: str) -> None:
    assert (done.status, done.out) == (2, ""), done
    assert sentence in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("how", FAULTS)
def test_makes_no_key_under_a_secret_key_that_is_not_the_databases(data: Path, how: str) -> None:
    environ = break_it(data, how)
    before = sorted(data.rglob("secret.key*"))
    created = lightwell_here("key", "create", "--admin", data=data, environ=environ)
    refuses(created, FAULTS[how])
    served = lightwell("serve", "--port", "0", data=data, environ=environ)
    refuses(served, FAULTS[how])
    assert created.err == served.err
    assert sorted(data.rglob("secret.key*")) == before
    assert key_names(data) == ["root"]


@pytest.mark.parametrize("how", FAULTS)
def test_doctor_finds_a_secret_key_that_is_not_the_databases(data: Path, how: str) -> None:
    environ = break_it(data, how)
    done = doctor_here("--json", data=data, environ=environ)
    (row,) = [row for row in done.json() if row["check"] == "secrets"]
    assert (done.status, row["ok"]) == (1, False)
    assert FAULTS[how] in row["says"]


def test_lets_a_folder_with_a_wrong_secret_key_be_looked_at(data: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "in", 1)
    policy = tmp_path / "policy.json"
    policy.write_text(
        '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'
    )
    made = lightwell_here("key", "create", "--policy", policy, data=data).json()["accessKeyId"]
    (data / "secret.key").unlink()
    assert lightwell_here("import", tmp_path / "in", "--datastore", "d", data=data).status == 0
    assert lightwell_here("export", tmp_path / "out", "--datastore", "d", data=data).status == 0
    assert lightwell_here("data", "verify", data=data).status == 0
    assert key_names(data) == ["root", "key"]
    asked = ("--action", "medical-imaging:GetImageSet", "--resource", "*")
    explained = lightwell_here("policy", "explain", "--key", made, *asked, data=data)
    assert explained.status == 0, explained
    assert "ALLOWED" in explained.out
    assert not (data / "secret.key").exists()


def test_starts_anew_once_the_keys_of_a_lost_secret_key_are_revoked(data: Path) -> None:
    (data / "secret.key").unlink()
    for key in lightwell_here("key", "list", "--json", data=data).json():
        assert lightwell_here("key", "revoke", key["accessKeyId"], data=data).status == 0
    assert prepare(load({"data": data}, environ={}, file=None)) == 0
    assert key_names(data) == ["root"]
    assert lightwell_here("key", "create", "--admin", data=data).status == 0


def test_doctor_names_keys_that_were_made_under_another_secret_key(data: Path) -> None:
    """As `key create` once made them."""
    made = lightwell_here("key", "create", "--admin", data=data).json()["accessKeyId"]
    db = Database(f"sqlite:///{data / 'lightwell.db'}")
    sealed = open_secret_box(OTHER, data).encrypt("x" * 40)
    with db.read() as conn:
        key = principals.get(conn, made)
    assert key is not None
    changed = principals.AccessKey(**{**{n: getattr(key, n) for n in key.__slots__}, "secret": sealed})
    db.write(lambda conn: principals.put(conn, changed))
    db.close()
    done = doctor_here(data=data)
    assert done.status == 1
    assert f"lightwell key revoke {made}" in done.out


def test_makes_no_secret_key_for_a_database_that_has_keys(database: Database, tmp_path: Path) -> None:
    from lightwell.auth.principals import create_key, ensure_root

    first, second = tmp_path / "first", tmp_path / "second"
    ensure_root(database, ensure_secret_box(database, None, first), None, 1)
    with pytest.raises(ConfigurationError, match="is missing"):
        ensure_secret_box(database, None, second)
    assert not second.exists()
    shutil.copytree(first, second)
    create_key(database, ensure_secret_box(database, None, second), "ana", 2)
    wrong = open_secret_box(OTHER, second)
    with pytest.raises(ConfigurationError, match="secret key other than"):
        create_key(database, wrong, "eve", 3)
    for given in (None, Credentials("K" * 20, "s" * 40)):
        with pytest.raises(ConfigurationError, match="secret key other than"):
            ensure_root(database, wrong, given, 4)
    with database.read() as conn:
        assert [key.name for key in principals.page(conn)] == ["root", "ana"]


def _prepared(data: Path, barrier: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    os._exit(prepare(load({"data": data}, environ={}, file=None)))


def test_makes_one_secret_key_at_a_first_start_of_several(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(4)
    processes = [context.Process(target=_prepared, args=(tmp_path / "data", barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert key_names(tmp_path / "data") == ["root"]
    assert lightwell_here("key", "create", "--admin", data=tmp_path / "data").status == 0
    assert len(list((tmp_path / "data").glob("secret.key*"))) == 1


def test_is_replaced_while_both_are_known(data: Path) -> None:
    """What docs/howto/keys.md says, where one server uses the folder."""
    settings, file = load({"data": data}, environ={}, file=None), data / "secret.key"
    made = lightwell_here("key", "create", "--admin", data=data).json()["accessKeyId"]
    old = file.read_text().strip()
    file.write_text(f"{OTHER}\n{old}\n")
    with pytest.raises(DoctorWarning, match=r"0 under [0-9a-f]{8}, 2 under [0-9a-f]{8}.*key reencrypt"):
        secrets(settings)
    done = lightwell_here("key", "reencrypt", "--json", data=data).json()
    assert done["reencrypted"] == 2 and [key["rows"] for key in done["keys"]] == [2, 0]
    new = done["keys"][0]["name"]
    assert f"all but {new} can be left out" in secrets(settings)
    assert lightwell_here("key", "reencrypt", data=data).out.startswith("encrypted 0 rows anew; 2 are under")
    file.write_text(f"{OTHER}\n")
    assert new in secrets(settings) and prepare(settings) == 0
    # The old one opens nothing any more.
    file.write_text(f"{old}\n")
    assert lightwell_here("key", "create", "--admin", data=data).status == 2
    # One that was made under a key that nobody has is named.
    file.write_text(f"{OTHER}\n")
    db = Database(settings.database)
    lost = create_key_under(db, open_secret_box(base64.b64encode(b"?" * 32).decode(), data))
    db.close()
    again = lightwell_here("key", "reencrypt", data=data)
    assert again.status == 1 and lost in again.err and made not in again.err


def create_key_under(db: Database, secret_box: SecretBox) -> str:
    """A key that is encrypted under another secret key, as no command makes one."""
    key = new_credentials()
    row = encrypted_key(secret_box, key, "lost", is_root=False, now=1)
    db.write(lambda conn: principals.insert(conn, row))
    return key.access_key_id
