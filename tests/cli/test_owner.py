"""Another user's hands: refused on data that are not theirs, and told from damage where they were there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightwell.cli.store_session import check_owner
from lightwell.errors import ConfigurationError
from lightwell.settings import load
from tests.cli.running import Done, doctor_here, import_series, lightwell, lightwell_here
from tests.support.ct_files import ct, write_series
from tests.support.ct_files import write as write_file

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
POLICY = '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'
TRUST = (
    '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", '
    '"Principal": {"Service": "medical-imaging.amazonaws.com"}}}'
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return import_series(tmp_path)


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def verbs(tmp_path: Path) -> Iterator[tuple[str | Path, ...]]:
    policy, trust = tmp_path / "policy.json", tmp_path / "trust.json"
    policy.write_text(POLICY)
    trust.write_text(TRUST)
    yield "serve", "--port", "0"
    yield "import", tmp_path / "in", "--datastore", "d"
    yield "export", tmp_path / "out", "--datastore", "d"
    yield "sets", "diff", "0" * 32, "1", "2"
    yield "sets", "list"
    yield "datastore", "usage"
    yield "data", "verify"
    yield "data", "migrate"
    yield "key", "create", "--admin"
    yield "key", "list"
    yield "role", "put", "r", "--trust-policy", trust, "--policy", policy
    yield "authorizer", "list"
    yield "policy", "explain", "--role", "r", "--action", "medical-imaging:GetImageSet", "--resource", "*"


def ran(*words: str | Path, data: Path) -> Done:
    """A server that is not refused would not end: it has a process of its own."""
    return (lightwell if words[0] == "serve" else lightwell_here)(*words, data=data)


@as_root
def test_quotes_a_folder_in_the_command_that_root_is_to_run(tmp_path: Path) -> None:
    data = tmp_path / "data; of a clinic"
    assert lightwell_here("data", "migrate", data=data).status == 0
    shutil.chown(data / "lightwell.db", "nobody")
    assert f"chown -R root '{data}'" in lightwell_here("key", "list", data=data).err


@as_root
@pytest.mark.parametrize("what", ["lightwell.db", "objects"])
def test_refuses_data_of_another_user(data: Path, tmp_path: Path, what: str) -> None:
    shutil.chown(data / what, "nobody")
    before = files(data)
    for words in verbs(tmp_path):
        done = ran(*words, data=data)
        assert (done.status, done.out) == (2, ""), (words, done)
        assert f"{data / what} belongs to nobody, but you are root" in done.err
        assert "sudo -u nobody lightwell" in done.err and "chown -R root" in done.err
        assert "--allow-other-user" in done.err
    assert files(data) == before
    listed = lightwell_here("data", "verify", "--allow-other-user", data=data)
    assert listed.status == 0, listed
    assert (
        lightwell_here("key", "list", data=data, environ={"LIGHTWELL_ALLOW_OTHER_USER": "true"}).status == 0
    )


@as_root
def test_doctor_names_the_owner_of_the_data_and_leaves_nothing_behind(data: Path) -> None:
    shutil.chown(data / "lightwell.db", "nobody")
    before = files(data)
    done = doctor_here("--json", data=data)
    rows = {row["check"]: row for row in done.json()}
    assert (done.status, rows["owner"]["ok"]) == (1, False)
    assert "belongs to nobody" in rows["owner"]["says"]
    assert files(data) == before
    assert doctor_here("--allow-other-user", data=data).status == 0


@as_root
@pytest.mark.parametrize("what", ["spool", "events.ndjson", "engine.lock"])
def test_doctor_finds_files_of_another_user_beside_the_data(data: Path, what: str) -> None:
    shutil.chown(data / what, "nobody")
    done = doctor_here("--json", data=data)
    rows = {row["check"]: row for row in done.json()}
    assert (done.status, rows["owner"]["ok"]) == (1, False)
    assert str(data / what) in rows["owner"]["says"] and "chown -R root" in rows["owner"]["says"]


@as_root
def test_takes_an_empty_folder_of_another_user(tmp_path: Path) -> None:
    write_series(tmp_path / "in", 1)
    (tmp_path / "data").mkdir(0o700)
    shutil.chown(tmp_path / "data", "nobody")
    assert lightwell_here("import", tmp_path / "in", "--datastore", "d", data=tmp_path / "data").status == 0


def test_refuses_a_user_who_owns_neither(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load({"data": data}, environ={}, file=None)
    check_owner(settings)
    monkeypatch.setattr(os, "geteuid", lambda: data.stat().st_uid + 4711)
    with pytest.raises(ConfigurationError, match=re.escape(f"{data / 'lightwell.db'} belongs to")):
        check_owner(settings)
    check_owner(load({"data": data, "allow_other_user": True}, environ={}, file=None))
    on_postgresql = load({"data": data, "database_url": "postgresql://h/d"}, environ={}, file=None)
    with pytest.raises(ConfigurationError, match=re.escape(f"{data / 'objects'} belongs to")):
        check_owner(on_postgresql)
    elsewhere = {"data": data, "database_url": "postgresql://h/d", "storage_url": "s3://bucket/prefix"}
    check_owner(load(elsewhere, environ={}, file=None))
    check_owner(load({"data": data / "new"}, environ={}, file=None))


def without_overriding(*words: str | Path) -> Done:
    """Run a command line as this user, whom modes bind even if it is root."""
    command: list[str | Path] = [sys.executable, "-m", "lightwell.cli.main", *words]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=240)
    return Done(done.returncode, done.stdout, done.stderr)


def test_tells_what_may_not_be_read_from_what_is_damaged(data: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        file = ct(number, StudyInstanceUID=f"1.2.{number}", SeriesInstanceUID=f"1.2.{number}.1")
        write_file(tmp_path / str(number) / "x.dcm", file)
        done = lightwell_here("import", tmp_path / str(number), "--datastore", "d", data=data)
        assert done.status == 0, done
    packs = sorted((data / "objects" / "packs").rglob("*.pack"))
    assert len(packs) == 3
    for pack in packs[:2]:
        pack.chmod(0)
    done = without_overriding("data", "verify", "--data", data)
    assert (done.status, done.out) == (1, ""), done
    assert "2 packs cannot be read, such as " in done.err and "mode 0000" in done.err
    assert "chown -R" in done.err and "chmod -R u+rwX" in done.err
    assert "backup" not in done.err
    assert len(done.err.splitlines()) == 3, done.err
    packs[2].write_bytes(bytes(reversed(packs[2].read_bytes())))
    report = without_overriding("data", "verify", "--json", "--data", data).json()
    kinds = {finding["kind"]: finding for finding in report["findings"]}
    assert sorted(kinds) == ["damaged", "unreadable"]
    assert kinds["unreadable"]["count"] == 2
    assert "backup" in kinds["damaged"]["cure"] and "backup" not in kinds["unreadable"]["cure"]
    assert {problem["kind"] for problem in report["problems"]} == {"damaged", "unreadable"}
    for pack in packs[:2]:
        pack.chmod(0o600)
    cured = lightwell_here("data", "verify", "--json", data=data).json()
    assert {problem["kind"] for problem in cured["problems"]} == {"damaged"}


def refused(data: Path) -> None:
    """Server and commands refuse ``data``, and doctor finds why."""
    for words in (("serve", "--port", "0"), ("data", "migrate"), ("key", "list")):
        done = ran(*words, data=data)
        assert (done.status, done.out) == (2, ""), (words, done)
        assert "belongs to nobody, but you are root" in done.err
        assert "--data" in done.err and "--allow-other-user" in done.err
    done = doctor_here("--json", data=data)
    rows = {row["check"]: row for row in done.json()}
    assert (done.status, rows["owner"]["ok"]) == (1, False)


@as_root
@pytest.mark.parametrize("what", ["secret.key", "events.ndjson", "work.sock", "serve.lock"])
def test_refuses_a_new_folder_where_another_user_has_put_something(tmp_path: Path, what: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / what).write_text("MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=\n")
    shutil.chown(data / what, "nobody")
    refused(data)
    assert files(data) == {data / what}


@as_root
@pytest.mark.parametrize("what", ["events.ndjson", "lightwell.db", "spool"])
def test_follows_no_link_of_another_user(data: Path, tmp_path: Path, what: str) -> None:
    """Its target would be written, and its mode changed: any file of this user."""
    target = tmp_path / "theirs"
    (data / what).rename(target)
    target.chmod(0o755)
    before = target.stat()
    (data / what).symlink_to(target)
    os.lchown(data / what, 65534, 65534)
    refused(data)
    after = target.stat()
    assert (after.st_mode, after.st_size, after.st_mtime_ns) == (
        before.st_mode,
        before.st_size,
        before.st_mtime_ns,
    )
    os.lchown(data / what, 0, 0)
    assert lightwell_here("key", "list", data=data).status == 0, "a link of one's own is followed"
    assert target.stat().st_mode & 0o077 == 0


@as_root
def test_takes_no_link_of_another_user_for_the_data_folder(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(0o755)
    (tmp_path / "data").symlink_to(tmp_path / "theirs")
    os.lchown(tmp_path / "data", 65534, 65534)
    refused(tmp_path / "data")
    assert (tmp_path / "theirs").stat().st_mode & 0o777 == 0o755
    assert files(tmp_path / "theirs") == set()
