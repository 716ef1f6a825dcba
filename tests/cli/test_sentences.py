"""Whatever is wrong outside, every command ends with one sentence that says what to do."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightwell.cli import starting_server, store_session
from lightwell.cli.file_advice import sentence
from lightwell.cli.main import main
from lightwell.cli.server.serve import prepare
from lightwell.settings import load
from tests.support.server import environment

COMMANDS: tuple[tuple[str, ...], ...] = (
    ("serve", "--port", "0"),
    ("import", "in"),
    ("import", "--check", "in"),
    ("export", "out", "--datastore", "d"),
    ("datastore", "list"),
    ("datastore", "create", "d"),
    ("datastore", "usage"),
    ("sets", "list", "--datastore", "d"),
    ("sets", "diff", "0" * 32, "1", "2"),
    ("data", "verify"),
    ("data", "migrate"),
    ("env",),
    ("key", "list"),
    ("key", "create", "--admin"),
    ("authorizer", "list"),
    ("role", "list"),
    ("policy", "explain", "--role", "r", "--action", "medical-imaging:GetImageSet", "--resource", "*"),
)
named = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


@pytest.fixture(autouse=True)
def _quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(starting_server, "_BEGIN_SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    yield


def said(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run a command in this process; its exit code and the one sentence that it says."""
    status = main(list(words))
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("lightwell: "), err
    assert "rror:" not in err and "Traceback" not in err
    return status, err


@named
def test_says_that_the_data_folder_is_a_file(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "file").chmod(0o644)
    for data in (tmp_path / "file", tmp_path / "file" / "data"):
        status, err = said((*words, "--data", str(data)), capsys)
        assert status == 2
        assert f"{tmp_path / 'file'} is a file, not a folder: give a data folder with --data" in err
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


@named
def test_says_that_the_database_is_none(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if words[0] in ("serve", "env") or "--check" in words:
        pytest.skip("a server says so in a process of its own; the others do not open it")
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "lightwell.db").write_bytes(b"not a database" * 1000)
    (tmp_path / "data" / "lightwell.db").chmod(0o600)
    status, err = said((*words, "--data", str(tmp_path / "data")), capsys)
    assert status == 1
    assert "the file is not an SQLite database: check LIGHTWELL_DATABASE_URL" in err


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.ELOOP]
)
def test_says_what_to_do_about_any_error_of_the_system(
    number: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for error in (OSError(number, os.strerror(number), "/some/file"), OSError(number, os.strerror(number))):

        def fail(*_: object, error: OSError = error) -> None:
            raise error

        monkeypatch.setattr(store_session, "restrict_access", fail)
        (tmp_path / "data").mkdir(mode=0o700, exist_ok=True)
        status, err = said(("key", "list", "--data", str(tmp_path / "data")), capsys)
        assert status == 1
        assert err == f"lightwell: {sentence(error)}\n"
        assert os.strerror(number) in err and ";" in err


def test_names_a_fault_of_its_own_as_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(store_session, "restrict_access", fail)
    (tmp_path / "data").mkdir(mode=0o700)
    assert main(["key", "list", "--data", str(tmp_path / "data")]) == 1
    err = capsys.readouterr().err
    assert (
        "this is a fault in lightwell: ZeroDivisionError: division by zero; run it again with --verbose"
        in err
    )


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (">/dev/full", "the output cannot be written: No space left on device; free up space on its disk"),
        (">&-", ""),
        ("| true", ""),
    ],
)
def test_says_that_its_output_cannot_be_written(output: str, words: str, tmp_path: Path) -> None:
    command = f"{sys.executable} -m lightwell config show {output}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=240, env=environment()
    )
    assert done.stderr == (f"lightwell: {words}\n" if words else "")


# Ctrl-C some seconds after lightwell's first line: what Python itself does before takes as long as it takes.
_INTERRUPTED = """
import _signal, os, sys, threading
import lightwell.__main__ as entry

set_handler = _signal.signal

def begun(number, handler):
    before = set_handler(number, handler)
    if handler is entry._interrupt:
        threading.Timer(float(sys.argv.pop()), os.kill, (os.getpid(), number)).start()
    return before

_signal.signal = begun
sys.exit(entry.start())
"""


def test_ends_with_one_line_after_ctrl_c_whenever_it_comes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert prepare(load({"data": data}, environ={}, file=None)) == 0

    def interrupted(wait: float, *words: str) -> tuple[int, str]:
        command = [sys.executable, "-c", _INTERRUPTED, *words, str(wait)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment())
        return done.returncode, done.stderr

    for wait in (0.0, 0.05, 0.2):
        found = interrupted(wait, "wait", "--data", "none", "--timeout", "200")
        assert found == (130, "lightwell: interrupted\n"), wait
    found = interrupted(0.3, "serve", "--port", "0", "--data", str(data), "--log-level", "error")
    assert found in ((0, ""), (130, "lightwell: interrupted\n"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'region = "\xff"', "is not valid TOML"),
        (b"a = " + b"[" * 100_000, "is not valid TOML"),
        (b'data = "a\\u0000b"', "has a null character"),
        (b"[", "is not valid TOML"),
    ],
)
def test_refuses_settings_that_are_no_text(
    text: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "some.toml"
    file.write_bytes(text)
    file.chmod(0o600)
    status, err = said(("config", "show", "--config", str(file)), capsys)
    assert status == 2 and words in err
    for device in ("/dev/zero", str(tmp_path)):
        assert said(("config", "show", "--config", device), capsys)[0] == 2


def test_refuses_a_data_folder_whose_name_no_other_process_could_be_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, err = said(("key", "list", "--data", os.fsdecode(b"d-\xff")), capsys)
    assert status == 2 and "is not UTF-8" in err


def test_says_that_an_argument_is_not_utf_8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datastore", "create", "d", "--data", str(tmp_path / "data")]) == 0
    capsys.readouterr()
    for words in (("sets", "list", "--patient"), ("erase", "--yes", "--patient")):
        status, err = said((*words, "M\udcfcller", "--data", str(tmp_path / "data")), capsys)
        assert status == 1 and "not UTF-8" in err


def test_escapes_what_could_control_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datastore", "create", "d", "--data", str(tmp_path / "data")]) == 0
    capsys.readouterr()
    words = ("sets", "show", "\x1b]0;title\x07", "--data", str(tmp_path / "data"))
    assert "There is no image set \\x1b]0;title\\x07; " in said(words, capsys)[1]
