"""What a newcomer does by mistake: each is answered by a sentence that says what to do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import Done, doctor_here, import_series, lightwell_here
from tests.support.ct_files import write_series
from tests.support.server import running, until
from tests.support.unprivileged import nobody_may_run_python, public_folder

as_root = pytest.mark.skipif(
    os.geteuid() != 0 or not nobody_may_run_python(),
    reason="only root can become another user, for whom this Python may be out of reach",
)
AS_NOBODY = (
    "import sys\n"
    "from lightwell.cli.main import main\n"
    "from tests.support.unprivileged import become_nobody\n"
    "become_nobody()\n"
    "sys.exit(main(sys.argv[1:]))\n"
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return import_series(tmp_path)


@pytest.fixture
def shut() -> Iterator[Path]:
    """A data folder of root's that nobody else may enter, in a folder that everybody may."""
    with public_folder() as folder:
        yield import_series(folder)


def as_nobody(*arguments: str | Path) -> Done:
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    return Done(done.returncode, done.stdout, done.stderr)


def verbs(folder: Path) -> Iterator[tuple[str | Path, ...]]:
    yield "key", "list"
    yield "import", folder / "in", "--datastore", "d"
    yield "data", "migrate"
    yield "serve", "--port", "0"


@as_root
def test_names_the_owner_of_a_folder_that_this_user_may_not_enter(shut: Path) -> None:
    for verb in verbs(shut.parent):
        done = as_nobody(*verb, "--data", shut)
        assert done.status == 2, done
        assert f"{shut} belongs to root, but you are nobody" in done.err
        assert "unexpected" not in done.err and "--allow-other-user" not in done.err
    doctor = as_nobody("doctor", "--port", "0", "--data", shut)
    assert "belongs to root" in doctor.out and "PermissionError" not in doctor.out


@as_root
@pytest.mark.parametrize("verb", [("import", "--check", "IN"), ("data", "migrate")])
def test_says_that_a_folder_cannot_be_made(verb: tuple[str, ...]) -> None:
    with public_folder() as folder:
        write_series(folder / "in", 2)
        words = [str(folder / "in") if word == "IN" else word for word in verb]
        done = as_nobody(*words, "--data", folder / "data")
    assert done.status == 1
    assert f"The data folder {folder / 'data'} cannot be created or written to: Permission denied" in done.err


def test_says_that_an_export_cannot_be_written(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = lightwell_here("export", tmp_path / "file", "--datastore", "d", data=data)
    assert (done.status, done.out) == (1, "")
    assert f"lightwell: Cannot write to {tmp_path / 'file'}/" in done.err and ": Not a directory" in done.err
    assert "use another folder" in done.err


def test_names_the_path_below_which_there_is_no_file(data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = lightwell_here("import", tmp_path / "empty", "--datastore", "d", data=data)
    assert done.status == 1
    assert f"There are no files below {tmp_path / 'empty'}. Check the path." in done.out
    assert "s3://" not in done.out


def test_says_where_the_report_of_an_import_lies(data: Path, tmp_path: Path) -> None:
    done = lightwell_here("import", tmp_path / "in", "--datastore", "d", data=data)
    found = re.search(r"^report +(/.+)$", done.out, re.MULTILINE)
    assert found, done.out
    assert (Path(found[1]) / "job-output-manifest.json").is_file()


@pytest.mark.parametrize("is_on_path", [True, False])
def test_names_itself_so_that_the_shell_finds_it(is_on_path: bool, tmp_path: Path) -> None:
    beside = Path(sys.executable).parent
    path = f"{beside}:/usr/bin:/bin" if is_on_path else "/usr/bin:/bin"
    code = (
        "from pathlib import Path\n"
        "from lightwell.cli.environment import command\n"
        "from lightwell.settings import load\n"
        f"print(command(load({{'data': Path({str(tmp_path)!r})}}, environ={{}})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, env={"PATH": path}
    )
    wanted = "lightwell" if is_on_path else f"{beside}/lightwell"
    assert done.stdout.startswith(f"{wanted} env --data "), done


def test_doctor_counts_what_was_open_where_that_is_much(data: Path) -> None:
    for path in data.rglob("*"):
        path.chmod(0o777 if path.is_dir() else 0o666)
    done = doctor_here(data=data)
    (line,) = (line for line in done.out.splitlines() if " files " in line)
    assert line.startswith("WARN") and len(line) < 400, line
    assert re.search(r"now only you can; the same goes for \d+ others below ", line)


def test_doctor_says_that_the_server_on_the_port_serves_another_folder(data: Path, tmp_path: Path) -> None:
    with running(tmp_path / "other") as server:
        port = server.url.rpartition(":")[2]
        mine = doctor_here("--port", port, "--json", data=tmp_path / "other").json()[-1]
        other = doctor_here("--port", port, "--json", data=data).json()[-1]
    assert (mine["check"], mine["warning"]) == ("port", False)
    assert (other["ok"], other["warning"]) == (True, True)
    assert f"does not serve {data}: check --data and --port" in other["says"]


def test_names_the_port_that_it_found_where_it_names_lightwell_env(tmp_path: Path) -> None:
    with running(tmp_path / "data") as server:
        until(lambda: any("created the root access key" in line for line in server.err))
        (told,) = (line for line in server.err if "created the root access key" in line)
        assert f"--port {server.url.rpartition(':')[2]})" in told


def test_shows_settings_that_are_on_or_off_as_a_file_writes_them(tmp_path: Path) -> None:
    rows = lightwell_here("config", "show", "--json", "--insecure-http", data=tmp_path).json()
    assert rows["insecure_http"]["value"] == "true"
    assert rows["allow_other_user"]["value"] == "false"
