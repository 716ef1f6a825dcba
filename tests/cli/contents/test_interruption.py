"""An import whose command is stopped: by Ctrl-C on a terminal, by a signal elsewhere, or twice."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lightwell.cli import running_server
from lightwell.cli.contents.interruption import Interrupted, Interruption
from tests.cli.running import import_series, lightwell_here
from tests.support.ct_files import ct, write
from tests.support.imports import Importing, importing


@dataclass
class Waiting:
    """``lightwell import`` whose job waits for storage that is not mounted, with a terminal or without."""

    data: Path
    process: subprocess.Popen[bytes]
    terminal: int

    def job(self) -> Any:
        (job, _) = lightwell_here("jobs", "list", "--json", data=self.data).json()
        return job

    def said(self, words: bytes) -> bytes:
        """What it has said on the terminal, once these words are among it."""
        text = b""
        end = time.monotonic() + 240
        while words not in text:
            assert select.select([self.terminal], [], [], end - time.monotonic())[0], text
            text += os.read(self.terminal, 1000)
        return text

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=240)
        return self.process.returncode, (err or b"").decode()


@pytest.fixture
def waiting(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Waiting]:
    data = import_series(tmp_path, 1)
    (data / "objects" / "packs").rename(tmp_path / "not-mounted")
    write(tmp_path / "more" / "1.dcm", ct(1, study="9"))
    controlling, terminal = os.openpty()
    has_terminal: bool = request.param
    command = [
        sys.executable,
        "-m",
        "lightwell.cli.main",
        "import",
        str(tmp_path / "more"),
        "--data",
        str(data),
    ]
    with subprocess.Popen(
        command,
        stdin=terminal if has_terminal else subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=terminal if has_terminal else subprocess.PIPE,
    ) as process:
        found = Waiting(data, process, controlling)
        try:
            while not lightwell_here("jobs", "list", "--running", "--json", data=data).json():
                assert process.poll() is None
            yield found
        finally:
            process.kill()
            os.close(controlling)
            os.close(terminal)


@pytest.mark.parametrize("waiting", [False], indirect=True)
def test_it_cancels_the_job_where_nobody_can_be_asked(waiting: Waiting) -> None:
    status, err = waiting.end(signal.SIGTERM)
    job = waiting.job()
    assert (status, job["jobStatus"]) == (128 + signal.SIGTERM, "FAILED"), err
    assert job["message"] == "Cancelled before any of its files was imported."


@pytest.mark.parametrize("waiting", [True], indirect=True)
def test_it_asks_on_a_terminal_and_keeps_the_job_if_told_so(waiting: Waiting) -> None:
    waiting.process.send_signal(signal.SIGINT)
    waiting.said(b"(s)top it, or let it go on later (g)? [S/g] ")
    os.write(waiting.terminal, b"what?\ng\n")
    assert b"goes on when `lightwell serve` or another import runs here" in waiting.said(b"stops it")
    assert waiting.process.wait(60) == 128 + signal.SIGINT
    job = waiting.job()
    assert job["jobStatus"] in ("SUBMITTED", "IN_PROGRESS")
    assert lightwell_here("jobs", "cancel", job["jobId"], data=waiting.data).status == 0
    assert waiting.job()["jobStatus"] == "FAILED"


@pytest.mark.parametrize("waiting", [True], indirect=True)
def test_it_ends_at_once_at_the_second_time(waiting: Waiting) -> None:
    waiting.process.send_signal(signal.SIGINT)
    waiting.said(b"[S/g] ")
    waiting.process.send_signal(signal.SIGINT)
    assert b"lightwell jobs show " in waiting.said(b"became of the job")
    assert waiting.process.wait(60) == 128 + signal.SIGINT
    assert waiting.job()["message"] == "Cancelled before any of its files was imported."


@pytest.fixture
def server(tmp_path: Path, migrated_sqlite_url: str) -> Iterator[Importing]:
    made = importing(tmp_path / "data", migrated_sqlite_url)
    yield made
    made.close()


def test_it_leaves_the_job_to_a_server_that_works_on_it(
    server: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = server.start()
    stopped = Interruption()
    stopped(signal.SIGTERM, None)
    monkeypatch.setattr(running_server, "find", lambda settings: "the server at X")
    with pytest.raises(Interrupted, match=f"goes on in the server at X; `lightwell jobs cancel {job.id}`"):
        stopped.decide(server.context, job, is_check=False, pause=lambda: None)
    assert server.job(job.id).status == "SUBMITTED"
    with pytest.raises(Interrupted, match="nothing was imported"):
        stopped.decide(server.context, job, is_check=True, pause=lambda: None)


def test_it_leaves_alone_what_has_ended(server: Importing) -> None:
    write(server.input / "1.dcm", ct())
    done = server.run().job
    stopped = Interruption()
    stopped(signal.SIGTERM, None)
    stopped.decide(server.context, done, is_check=False, pause=lambda: None)
    assert server.job(done.id).status == "COMPLETED"
