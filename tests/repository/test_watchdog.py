"""The suite's own limits of time hold where no signal reaches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# An endless loop in one call of C code, which looks at no signal and keeps Python's lock, as a decoder may.
HANGS = """
import itertools

def test_hangs_in_c():
    sum(itertools.repeat(0))
"""
# Only the one that hangs has to be quick.
HANGS_BY_MARK = """
import itertools
import pytest

@pytest.mark.timeout(60)
def test_before():
    pass

@pytest.mark.timeout(2)
def test_hangs_in_c():
    sum(itertools.repeat(0))
"""
SLOW_BY_MARK = """
import time
import pytest

@pytest.mark.timeout(60)
def test_may_take_longer():
    time.sleep(3)
"""


def run(folder: Path, source: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(source)
    return subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "pytest",
                "-p",
                "tests.support.watchdog",
                "-p",
                "no:cacheprovider",
                "--timeout",
                "2",
            ),
            *("-o", "watchdog_grace=1", "--rootdir", str(folder), *options, str(folder)),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_ends_a_test_that_hangs_in_c_code_and_says_where_it_was(tmp_path: Path) -> None:
    ended = run(tmp_path, HANGS, "-n0")
    assert ended.returncode == 1
    assert "Timeout (0:00:03)!" in ended.stderr
    assert "in test_hangs_in_c" in ended.stderr


def test_names_the_test_that_hung_in_one_of_several_processes(tmp_path: Path) -> None:
    ended = run(tmp_path, HANGS_BY_MARK, "-n1")
    assert ended.returncode == 1
    assert "crashed while running" in ended.stdout and "::test_hangs_in_c" in ended.stdout
    assert "1 failed, 1 passed" in ended.stdout


def test_leaves_a_test_the_time_that_its_mark_gives(tmp_path: Path) -> None:
    ended = run(tmp_path, SLOW_BY_MARK, "-n0")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_is_set_for_the_whole_suite(pytestconfig: pytest.Config) -> None:
    assert float(pytestconfig.getini("timeout")) > 0
    assert pytestconfig.pluginmanager.hasplugin("tests.support.watchdog")
