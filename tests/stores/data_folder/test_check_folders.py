"""Folders of dry runs: whoever is killed leaves one, and whoever opens the data folder next removes it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightwell.stores.data_folder.check_folders import LOCK, check_folder, sweep
from tests.cli.running import lightwell_here

DRY_RUN = """
import sys
from pathlib import Path
from lightwell.stores.data_folder.check_folders import check_folder
with check_folder(Path(sys.argv[1])) as folder:
    (folder / "objects" / "packs").mkdir(parents=True)
    (folder / "objects" / "packs" / "1.pack").write_text("pixels")
    (folder / "encryption.key").write_text("a key")
    print(folder, flush=True)
    sys.stdin.read()
"""


@contextmanager
def dry_run(data: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    command = [sys.executable, "-c", DRY_RUN, str(data)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_removes_what_a_killed_dry_run_has_left_and_none_that_is_in_use(tmp_path: Path) -> None:
    assert lightwell_here("data", "migrate", data=tmp_path).status == 0
    theirs = tmp_path / "check-baseline"
    theirs.mkdir()
    (theirs / "notes.txt").write_text("mine")
    with dry_run(tmp_path) as (process, killed), dry_run(tmp_path) as (_, in_use):
        assert sweep(tmp_path) == 0
        process.kill()
        process.wait()
        assert (killed / "encryption.key").exists()
        assert lightwell_here("datastore", "list", data=tmp_path).status == 0
        assert sorted(tmp_path.glob("check-*")) == sorted((in_use, theirs))
        assert (in_use / "objects" / "packs" / "1.pack").read_text() == "pixels"
    assert sweep(tmp_path) == 1
    assert list(tmp_path.glob("check-*")) == [theirs]


def test_a_dry_run_removes_its_own_and_those_before_it(tmp_path: Path) -> None:
    left = tmp_path / "check-12345678"
    (left / "objects").mkdir(parents=True)
    (left / LOCK).touch()
    with check_folder(tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def test_follows_no_link_to_a_folder_elsewhere(tmp_path: Path) -> None:
    elsewhere, data = tmp_path / "elsewhere", tmp_path / "data"
    elsewhere.mkdir()
    (elsewhere / LOCK).touch()
    data.mkdir()
    (data / "check-12345678").symlink_to(elsewhere)
    assert sweep(data) == 0
    assert (elsewhere / LOCK).exists()
