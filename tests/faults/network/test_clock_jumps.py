"""The clock of a running server jumps by days and years, both ways: it stores, finds and records as before.

Debian's ``faketime`` sets the clock of all processes of the server, which read a file whenever they ask.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import botocore.auth
import pytest

from tests.dicomweb.support.uploads import RELATED, part10, related
from tests.support.ct_files import ct
from tests.support.server import Server, running

DAY, YEAR = 86_400, 365 * 86_400
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


class Watch:
    """What a server on a clock of its own, and clients that go by it, are told of the time."""

    def __init__(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._file = file
        self._clients = 0
        real = botocore.auth.get_current_datetime

        def shifted(*arguments: Any, **named: Any) -> Any:
            return real(*arguments, **named) + timedelta(seconds=self._clients)

        monkeypatch.setattr(botocore.auth, "get_current_datetime", shifted)
        self.set_server(0)

    def set_server(self, seconds: int) -> None:
        following = self._file.with_suffix(".new")
        following.write_text(f"{seconds:+d}s\n")
        following.replace(self._file)

    def set_clients(self, seconds: int) -> None:
        self._clients = seconds


@pytest.mark.skipif(not LIBRARIES, reason="no faketime: run tools/system-packages")
@pytest.mark.parametrize(
    "jumps",
    [
        pytest.param((0, 10 * YEAR, -YEAR, 0), id="some"),
        pytest.param((0, DAY, 10 * YEAR, 0, -YEAR, 0), id="all", marks=pytest.mark.endurance),
    ],
)
def test_goes_on_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jumps: tuple[int, ...]) -> None:
    watch = Watch(tmp_path / "clock", monkeypatch)
    env = {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(tmp_path / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with running(tmp_path / "data", env=env) as server:
        store = server.client().create_datastore(datastoreName="a")["datastoreId"]
        for number, seconds in enumerate(jumps, 1):
            watch.set_server(seconds)
            watch.set_clients(0)
            for expires in (None, 3600):
                status = server.send(server.signed("GET", "/datastore", query_expires=expires)).status
                assert status == (403 if seconds else 200)
            watch.set_clients(seconds)
            assert _stow(server, store, number) == 200
            assert _count(server, store) == number
            assert server.call("GET", "/readyz").status == 200
    for command in (("audit", "verify"), ("data", "verify", "--all")):
        ran = subprocess.run(
            [sys.executable, "-m", "lightwell", *command, "--data", str(tmp_path / "data")],
            capture_output=True, text=True,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr


def _stow(server: Server, store: str, number: int) -> int:
    body = related(part10(ct(number, study="77")))
    headers = {"content-type": RELATED}
    return server.send(server.signed("POST", f"/datastore/{store}/studies", body, headers=headers)).status


def _count(server: Server, store: str) -> int:
    found = server.send(server.signed("GET", f"/datastore/{store}/instances"))
    return len(json.loads(found.body or b"[]"))
