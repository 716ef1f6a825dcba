"""A server writes where it is into the lock of its data folder, and the other commands find it there."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lightwell.cli import running_server
from lightwell.cli.prefixed_names import HOST
from lightwell.cli.running_server import (
    LOCK,
    RunningServer,
    ServerLock,
    check_database,
    clients_url,
    database_place,
    find,
    is_another_database,
    local_url,
)
from lightwell.errors import ConfigurationError, LightwellError
from lightwell.settings import Settings, load
from lightwell.work.engine_lock import EngineLock
from tests.cli.running import lightwell
from tests.support.ct_files import write_series
from tests.support.server import Server, running


def settings(data: Path, **more: object) -> Settings:
    return load({"data": data, **more}, environ={}, file=None)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("found")
    with running(folder / "data", "--region", "eu-west-1") as server:
        yield server


def either(url: str) -> tuple[str, str]:
    """What `env` may say of an address: by a name only where that resolves within a second."""
    return url, url.replace("127.0.0.1", HOST)


def test_is_found_by_the_commands_that_need_its_address(server: Server, tmp_path: Path) -> None:
    found = find(settings(server.data))
    assert found is not None
    assert (found.pid, found.url, found.is_ready) == (server.process.pid, server.url, True)
    variables = lightwell("env", "--json", data=server.data).json()
    assert variables["AWS_ENDPOINT_URL_STS"] in either(server.url)
    assert variables["AWS_REGION"] == "eu-west-1"
    given = lightwell("env", "--json", "--port", "1", "--region", "us-east-1", data=server.data).json()
    assert given["AWS_ENDPOINT_URL_STS"] in either("http://127.0.0.1:1")
    assert given["AWS_REGION"] == "us-east-1"
    doctor = lightwell("doctor", "--json", data=server.data).json()[-1]
    assert doctor["says"] == f"lightwell is running and ready at {server.url} (process {server.process.pid})"
    write_series(tmp_path / "in", 1)
    done = lightwell("import", tmp_path / "in", data=server.data)
    assert done.status == 0, done
    assert f"the server at {server.url} (process {server.process.pid}) does the work" in done.err


@pytest.mark.parametrize(
    "words", [("import", __file__), ("export", "out", "--datastore", "d"), ("key", "list")]
)
def test_keeps_commands_from_another_database(server: Server, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = lightwell(*words, "--database-url", f"sqlite:///{tmp_path}/other.db", data=server.data)
    assert (done.status, done.out) == (2, "")
    assert f"The server at {server.url}" in done.err and "--database-url" in done.err
    assert not (tmp_path / "other.db").exists()


def test_is_not_found_once_it_has_stopped_however_it_ended(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        assert server.stop() == 0
        assert find(settings(server.data)) is None
        assert (server.data / LOCK).read_text() == ""
    with running(tmp_path / "data") as server:
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        assert server.url in (server.data / LOCK).read_text()
        assert find(settings(server.data)) is None


def test_is_found_before_it_is_ready_and_refuses_a_second(tmp_path: Path) -> None:
    mine = settings(tmp_path, database_url="postgresql://me:secret@db/images?password=hush")
    lock = ServerLock(mine)
    try:
        assert find(mine) == lock.server
        assert not lock.server.is_ready and lock.server.url == ""
        lock.describe(mine, 9, is_ready=True)
        found = find(mine)
        assert found is not None and found.is_ready
        assert str(found) == f"the server at http://127.0.0.1:9 (process {os.getpid()})"
        text = (tmp_path / LOCK).read_text()
        assert "secret" not in text and "hush" not in text
        with pytest.raises(LightwellError, match=r"in use by the server at http://127\.0\.0\.1:9 "):
            ServerLock(mine)
    finally:
        os.close(lock.handle)
    assert find(mine) is None


def test_waits_for_a_command_that_only_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / LOCK).open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        monkeypatch.setattr(running_server, "sleep", lambda seconds: fcntl.flock(looking, fcntl.LOCK_UN))
        os.close(ServerLock(settings(tmp_path)).handle)


@pytest.mark.parametrize(
    ("text", "pid"), [(b"", 0), (b"4711\n", 4711), (b'{"pid": "x"}', 0), (b"[]", 0), (b"{\xff", 0)]
)
def test_reads_what_other_versions_wrote(
    tmp_path: Path, text: bytes, pid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_server, "sleep", lambda seconds: None)
    (tmp_path / LOCK).write_bytes(text)
    with (tmp_path / LOCK).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert find(settings(tmp_path)) == RunningServer(pid=pid, is_ready=bool(pid))


def test_follows_no_link_to_a_lock(tmp_path: Path) -> None:
    (tmp_path / LOCK).symlink_to(tmp_path / "elsewhere")
    assert find(settings(tmp_path)) is None
    assert find(settings(tmp_path / "missing")) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_does_not_believe_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = ServerLock(settings(tmp_path))
    shutil.chown(tmp_path / LOCK, "nobody")
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert find(settings(tmp_path)) is None
    assert find(settings(tmp_path, allow_other_user=True)) is not None
    os.close(lock.handle)


def test_names_the_machine_where_that_is_another(tmp_path: Path) -> None:
    lock = ServerLock(settings(tmp_path))
    described = json.dumps({"pid": 5, "url": "http://127.0.0.1:9", "is_ready": True, "host": "elsewhere"})
    (tmp_path / LOCK).write_text(described)
    (tmp_path / "credentials").write_text(
        "[lightwell]\naws_access_key_id = AKLW\naws_secret_access_key = s\n"
    )
    done = lightwell("env", data=tmp_path)
    os.close(lock.handle)
    assert (done.status, done.out) == (1, "")
    assert "the server at http://127.0.0.1:9 (process 5 on elsewhere): run `lightwell env` there" in done.err


def test_tells_databases_apart(tmp_path: Path) -> None:
    mine = settings(tmp_path, database_url="postgresql://u:p@a:5432/images?sslmode=require")
    assert database_place(mine) == "postgresql://a:5432/images"
    server = RunningServer(pid=1, database="postgresql://b/images")
    assert not is_another_database(server, mine)
    assert is_another_database(replace(server, database="postgresql://a:5432/other"), mine)
    assert is_another_database(replace(server, database="sqlite:////x"), mine)
    assert not is_another_database(replace(server, database=""), mine)
    assert check_database(mine) is None
    lock = ServerLock(settings(tmp_path))
    with pytest.raises(
        ConfigurationError, match=r"not on postgresql://a:5432/images: give the --database-url"
    ):
        check_database(mine)
    os.close(lock.handle)


def test_an_import_that_waits_for_another_one_says_so(tmp_path: Path) -> None:
    from lightwell.cli.contents.importing import _who_works

    with EngineLock(tmp_path) as lock:
        assert lock.take() and lock.holder() is None
        holder = EngineLock(tmp_path).holder()
        assert holder == os.getpid()
        said = _who_works(settings(tmp_path), holder)
        assert f"process {os.getpid()}, a worker or another `lightwell import`, has the data folder" in said
    assert EngineLock(tmp_path).holder() is None


def test_gives_clients_the_name_that_the_certificate_has(tmp_path: Path) -> None:
    files = {"tls_cert": tmp_path / "c", "tls_key": tmp_path / "k"}
    named = settings(tmp_path, **files, public_url="https://images.example.org:8085/")
    assert clients_url(named, 9) == "https://images.example.org:8085"
    assert local_url(named, 9) == "https://127.0.0.1:9"
    below = settings(tmp_path, **files, public_url="https://example.org/images")
    assert clients_url(below, 9) == clients_url(settings(tmp_path, **files), 9) == "https://127.0.0.1:9"
    behind_a_proxy = settings(tmp_path, public_url="https://images.example.org")
    assert clients_url(behind_a_proxy, 9) == "http://127.0.0.1:9"
