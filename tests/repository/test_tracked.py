"""What the repository tracks: no data folder of a server: its keys would be everybody's."""

import subprocess
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
SECRET = {"credentials", "secret.key", "lightwell.db", "serve.lock"}


def test_no_data_folder_is_tracked() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = [PurePosixPath(name) for name in listed.stdout.split("\0") if name]
    assert PurePosixPath("README.md") in tracked
    assert [str(path) for path in tracked if path.name in SECRET] == []
