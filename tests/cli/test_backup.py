"""``lightwell data backup`` and ``restore`` as the night operator runs them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lightwell.cli.main import main
from lightwell.observe.audit.search import Wanted, search
from lightwell.stores.backup.runs import Backups
from lightwell.stores.data_folder.audit_folder import AuditFolder
from lightwell.stores.db.schema import REVISIONS
from lightwell.stores.objects.local import LocalObjects
from tests.cli.running import import_series


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with two instances and an access key."""
    folder = import_series(tmp_path_factory.mktemp("source"))
    assert main(["key", "create", "--admin", "--data", str(folder)]) == 0
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(["data", *map(str, words)])
    said = capsys.readouterr()
    return status, said.out, said.err


def last_changes(data: Path) -> dict[str, tuple[str | None, str | None]]:
    """What the last restore into a data folder says in its audit trail of what it has changed."""
    found = search(AuditFolder(data, None).root, Wanted(), lambda *why: pytest.fail(str(why)))
    *_, record = [each.record for each in found if each.record.operation == "data restore"]
    assert (record.phase, record.kind, record.error) == ("ended", "change", None)
    return {each.what: (each.before, each.after) for each in record.change}


def test_brings_back_the_secret_key_for_whoever_has_the_recovery_key(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to, recovery = tmp_path / "to", tmp_path / "recovery.key"
    status, _, err = run(capsys, "backup", to, "--data", data, "--recovery-key", recovery)
    assert status == 2 and "openssl rand -base64 32" in err
    recovery.write_text("A" * 43 + "=\n")
    status, out, err = run(capsys, "backup", to, "--data", data, "--recovery-key", recovery)
    assert (status, err) == (0, "") and "secret key is NOT in it" not in out and "DATA/audit" in out
    secret = (data / "secret.key").read_bytes()
    assert all(secret.strip() not in path.read_bytes() for path in to.rglob("*") if path.is_file())

    new = tmp_path / "new"
    status, out, err = run(capsys, "restore", to, "--data", new, "--recovery-key", recovery)
    assert (status, err) == (0, "") and "2 frames read" in out
    assert (new / "secret.key").read_bytes() == secret
    assert (new / "secret.key").stat().st_mode & 0o077 == 0
    backups = Backups(LocalObjects(to))
    made = backups.run(backups.runs()[0])
    assert last_changes(new) == {"run restored": (None, made.id)}
    assert run(capsys, "verify", "--data", new)[0] == 0

    # As if an older version had made it.
    backups.commit(replace(made, schema=REVISIONS[-2]))
    bare = tmp_path / "bare"
    status, out, err = run(capsys, "restore", to, "--data", bare)
    assert status == 0 and "No access key works yet, and no server starts." in err and "secret.key" in err
    shutil.copy(data / "secret.key", bare)
    assert main(["key", "list", "--data", str(bare)]) == 0
    assert last_changes(bare)["database schema"] == (REVISIONS[-2], REVISIONS[-1])

    recovery.write_text("B" * 43 + "=\n")
    status, _, err = run(capsys, "restore", to, "--data", tmp_path / "x", "--recovery-key", recovery)
    assert status == 2 and "under another recovery key" in err
    assert not (tmp_path / "x").exists()


def test_says_what_is_wrong_and_ends_with_1(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "to"
    source = shutil.copytree(data, tmp_path / "copy")
    (pack,) = (source / "objects").rglob("*.pack")
    good = pack.read_bytes()
    pack.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    status, out, err = run(capsys, "backup", to, "--data", source, "--json")
    assert status == 1
    told = json.loads(out)
    assert [each["pack"].rpartition("/")[2] for each in told["damaged"]] == [pack.name]
    assert pack.name in err and "1 pack" in err and "lightwell data verify" in err
    assert told["hasKeys"] is False

    new = tmp_path / "new"
    status, out, err = run(capsys, "restore", to, "--data", new)
    assert status == 1 and pack.name in err and "not usable yet" in err and not out
    for words in (["verify", "--data", new], ["backup", tmp_path / "y", "--data", new]):
        status, _, err = run(capsys, *words)
        assert status == 2 and "run the same `lightwell data restore` again" in err
    pack.write_bytes(good)
    assert run(capsys, "backup", to, "--data", source)[0] == 0
    # The restore that has begun goes on with its own run, which another backup has completed.
    status, out, err = run(capsys, "restore", to, "--data", new)
    assert status == 0 and told["run"] in out, err
    status, out, _ = run(capsys, "restore", to, "--list", "--json")
    assert status == 0
    assert [each["packs"] for each in json.loads(out)] == [1, 1]
    status, _, err = run(capsys, "restore", to, "--data", new)
    assert status == 2 and "There is a database already" in err


def test_refuses_places_that_cannot_be(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place, words in (
        (data / "objects", "is the storage itself"),
        (data, "is not empty, and no backup"),
        ("ftp://somewhere", "must be file:///PATH or s3://BUCKET/PREFIX"),
    ):
        status, _, err = run(capsys, "backup", place, "--data", data)
        assert status == 2 and words in err
    status, _, err = run(capsys, "restore", tmp_path, "--data", tmp_path / "new")
    assert status == 2 and "is no backup" in err and not (tmp_path / "new").exists()
