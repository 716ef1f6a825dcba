"""While a server is starting: ``wait``, ``--ready-file``, and commands that have patience."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lightwell.cli import starting_server
from lightwell.cli.main import main
from lightwell.cli.running_server import ServerLock
from lightwell.cli.server.ready_file import ReadyFile
from lightwell.cli.server.serve import prepare
from lightwell.errors import ConfigurationError, LightwellError
from lightwell.settings import Settings, load
from tests.cli.running import lightwell
from tests.support.server import environment, launch, wait_until_ready

ROOT = Path(__file__).parents[2]


def settings(data: Path) -> Settings:
    return load({"data": data, "port": 9}, environ={}, file=None)


@contextmanager
def starting(data: Path) -> Iterator[Callable[[], None]]:
    """A lock as a starting server holds it; what is given makes the data folder and says that it is ready."""
    mine = settings(data)
    lock = ServerLock(mine)

    def come_up() -> None:
        assert prepare(mine) == 0
        lock.describe(mine, 9, is_ready=True)

    try:
        yield come_up
    finally:
        os.close(lock.handle)


@pytest.mark.parametrize(
    "words",
    [
        ("key", "create", "--admin"),
        ("role", "list"),
        ("authorizer", "list"),
        ("export", "out", "--datastore", "none"),
        ("env",),
    ],
)
def test_commands_wait_for_a_server_that_is_starting(
    tmp_path: Path,
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(starting_server, "_SILENT_SECONDS", -1.0)
    with starting(tmp_path / "data") as come_up:
        monkeypatch.setattr(starting_server, "sleep", lambda seconds: come_up())
        status = main([*words, "--data", str(tmp_path / "data")])
    said = capsys.readouterr().err
    assert "lightwell: waiting for the server" in said
    if words[0] == "export":
        assert status == 1 and "none" in said
    else:
        assert status == 0, said


def test_commands_say_what_to_do_where_no_server_comes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting_server, "_BEGIN_SECONDS", 0.1)
    monkeypatch.setattr(starting_server, "_READY_SECONDS", 0.1)
    words = ["role", "list", "--data", str(tmp_path / "data")]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "start `lightwell serve`" in said and "`lightwell data migrate`" in said
    with starting(tmp_path / "data"):
        assert main(words) == 1
    assert "is not ready" in capsys.readouterr().err


def test_wait_prints_the_address_of_a_server_once_it_is_ready(tmp_path: Path) -> None:
    ready = tmp_path / "run" / "ready"
    ready.parent.mkdir()
    ready.write_text("http://127.0.0.1:1\n")
    server = launch(tmp_path / "data", "--ready-file", str(ready))
    done = lightwell("wait", data=tmp_path / "data")
    assert done.status == 0, done
    wait_until_ready(server)
    assert done.out == f"{server.url}\n"
    again = lightwell("wait", "--json", data=tmp_path / "data")
    assert again.json() == {"url": server.url, "pid": server.process.pid}
    assert ready.read_text() == f"{server.url}\n"
    assert list(ready.parent.iterdir()) == [ready]
    assert server.stop() == 0
    assert not ready.exists()


def test_wait_ends_where_no_server_comes_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = settings(tmp_path)
    with pytest.raises(LightwellError, match="No server has come up on the data folder"):
        starting_server.wait_until_ready(mine, 0.0)
    with starting(tmp_path), pytest.raises(LightwellError, match="is not ready yet"):
        starting_server.wait_until_ready(mine, 0.0)
    lock = ServerLock(mine)
    monkeypatch.setattr(starting_server, "sleep", lambda seconds: os.close(lock.handle))
    with pytest.raises(LightwellError, match=f"ended without being ready .*process {os.getpid()}"):
        starting_server.wait_until_ready(mine, 60.0)
    done = lightwell("wait", "--timeout", "0", data=tmp_path)
    assert (done.status, done.out) == (1, "")
    assert "start `lightwell serve`, or check --data" in done.err


def test_refuses_a_ready_file_that_cannot_be_written(tmp_path: Path) -> None:
    done = lightwell("serve", "--port", "0", "--ready-file", tmp_path / "no" / "file", data=tmp_path / "data")
    assert (done.status, done.out) == (2, "")
    assert f"The file {tmp_path / 'no' / 'file'} of --ready-file cannot be written" in done.err
    with pytest.raises(ConfigurationError, match="Is a directory"):
        ReadyFile(tmp_path)


def test_tells_of_a_ready_file_that_could_not_be_written_after_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    file = ReadyFile(tmp_path / "run" / "ready")
    (tmp_path / "run").rmdir()
    file.write("http://127.0.0.1:9")
    assert "ready cannot be written: No such file or directory" in capsys.readouterr().err
    file.remove()


def test_the_block_about_openid_connect_can_be_pasted(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "howto" / "oidc.md").read_text()
    block = text.partition("```sh\n")[2].partition("```")[0]
    assert "lightwell serve &\n" in block
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    beside = Path(sys.executable).parent
    # pip has nothing to do, and no port is known to be free.
    script = f"set -e\npip() {{ :; }}\ntrap 'kill $! && wait $!' EXIT\n{block}"
    env = environment({"LIGHTWELL_PORT": "0", "PATH": f"{beside}:{os.environ['PATH']}"})
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert '"datastoreStatus": "CREATING"' in done.stdout


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "soon"])
def test_wait_refuses_a_timeout_that_is_no_time(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["wait", f"--timeout={seconds}"])
    assert ended.value.code == 2 and f"'{seconds}' is no number of seconds" in capsys.readouterr().err
