"""The audit trail while processes are killed and disks are full: no answer without its record."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lightwell.observe.audit.search import Wanted, search
from lightwell.observe.audit.verification import verify
from lightwell.stores.data_folder.audit_folder import AuditFolder
from tests.support.server import Server, running, until

PATH = f"/datastore/{'d' * 32}/imageSet/{'e' * 32}/getImageSetMetadata"


def ask(server: Server) -> tuple[int, str]:
    """The status of a request that is recorded, 404 unless it is refused, and its id."""
    answer = server.send(server.signed("POST", PATH))
    return answer.status, answer.headers["x-amzn-requestid"]


def on_record(data: Path) -> list[str]:
    folder = AuditFolder(data, None)
    found = list(verify(folder.root, folder.keys(), {}))
    assert [one.findings for one in found] == [[]] * len(found)
    wanted = Wanted()
    return [one.record.id for one in search(folder.root, wanted, print) if one.record.id is not None]


def kill_all(server: Server) -> None:
    tree = psutil.Process(server.process.pid)
    for process in [*tree.children(recursive=True), tree]:
        os.kill(process.pid, signal.SIGKILL)
    server.process.wait()


@pytest.mark.parametrize("is_sync", [True, False])
def test_a_killed_server_has_all_answers_on_record_up_to_some_moment(tmp_path: Path, is_sync: bool) -> None:
    """With audit_sync, up to the last."""
    data = tmp_path / "data"
    with running(data, "--workers", "1", *(["--audit-sync"] if is_sync else [])) as server:
        answered = []
        for _ in range(100):
            status, request = ask(server)
            assert status == 404
            answered.append(request)
        until(lambda: answered[0] in on_record(data))
        kill_all(server)
    kept = [request for request in on_record(data) if request in set(answered)]
    assert kept == answered[: len(kept)]
    if is_sync:
        assert kept == answered
    with running(data, "--workers", "1") as server:
        assert ask(server)[0] == 404
    assert on_record(data)[: len(kept)] == kept


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A data folder whose chain of the HTTP process has 16 KiB of room."""
    folder = tmp_path / "data" / "audit" / "http-0"
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("a small file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_refuses_what_it_cannot_record_and_loses_nothing(small: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data, "--workers", "1") as server:
        answered = []
        while (found := ask(server))[0] == 404:
            answered.append(found[1])
            assert len(answered) < 500
        assert found[0] == 503
        until(lambda: server.call("GET", "/readyz").status == 503)
        checks = json.loads(server.call("GET", "/readyz").body)["checks"]
        assert checks == {"database": "ok", "schema": "ok", "storage": "ok", "audit": "unavailable"}
        assert server.call("GET", "/healthz").status == 200
        subprocess.run(["mount", "-o", "remount,size=4m", str(small)], check=True)
        until(lambda: server.call("GET", "/readyz").status == 200)
        assert ask(server)[0] == 404
    assert set(answered) <= set(on_record(data))
    folder = AuditFolder(data, None)
    said = [one.record.operation for one in search(folder.root, Wanted(), print)]
    assert said.count("AuditInterrupted") == 1
    assert said.count("AuditLost") == 0
