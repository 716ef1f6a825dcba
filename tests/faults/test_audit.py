"""The audit trail while processes are killed and disks are full: no answer without its record."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
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


def is_handed_over_soon(server: Server, data: Path) -> bool:
    """Whether the record of a request is in the file, where no kill takes it, within a second of its answer.

    A tenth of a second after it, says docs/howto/audit.md. How soon this process sees it depends on the
    machine, too, so whoever asks tries again; but never while records wait, with which it would go.
    """
    _, request = ask(server)
    answered = time.monotonic()
    until(lambda: request in on_record(data))
    return time.monotonic() - answered < 1


@pytest.mark.parametrize("is_sync", [True, False])
def test_a_killed_server_has_all_answers_on_record_up_to_some_moment(tmp_path: Path, is_sync: bool) -> None:
    """With audit_sync, up to the last; without, but for those of the last moment."""
    data = tmp_path / "data"
    with running(data, "--workers", "1", *(["--audit-sync"] if is_sync else [])) as server:
        answered = []
        for _ in range(100):
            status, request = ask(server)
            assert status == 404
            answered.append(request)
        until(lambda: answered[-1] in on_record(data))
        until(lambda: is_handed_over_soon(server, data))
        later = [ask(server)[1] for _ in range(20)]
        kill_all(server)
    before = on_record(data)
    kept = [request for request in before if request in {*answered, *later}]
    assert kept == [*answered, *later][: len(kept)]
    assert len(kept) >= len(answered) + (len(later) if is_sync else 0)
    with running(data, "--workers", "1") as server:
        assert ask(server)[0] == 404
    assert on_record(data)[: len(before)] == before


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
