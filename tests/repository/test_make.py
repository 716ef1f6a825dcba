"""`make` takes a Python that works, and says what to do where there is none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = "{}.{}".format(*sys.version_info[:2])


def interpreter(folder: Path, name: str, version: str, *, venv: bool = True) -> Path:
    """A program that says of itself what a Python of that version would say, and is nothing else."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {version}\n" + ("" if venv else "echo no venv\n"))
    path.chmod(0o755)
    return path


def checkout(folder: Path, *versions: str) -> Path:
    """The tools, in a project that supports these versions of Python."""
    shutil.copytree(ROOT / "tools", folder / "tools")
    named = [f'  "Programming Language :: Python :: {version}",' for version in versions]
    (folder / "pyproject.toml").write_text("\n".join(["classifiers = [", *named, "]", ""]))
    return folder


def choose(project: Path, programs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    programs.mkdir(exist_ok=True)
    path = f"{programs}:{os.environ['PATH']}"
    return subprocess.run(
        [project / "tools/python", *arguments], env={"PATH": path}, capture_output=True, text=True
    )


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    return tmp_path / "programs"


def test_takes_the_newest_python_that_is_supported(tmp_path: Path, programs: Path) -> None:
    project = checkout(tmp_path / "project", "7.9", "7.11", "7.10")
    for version in ("7.9", "7.10", "7.11", "7.12"):
        interpreter(programs, f"python{version}", version)
    assert choose(project, programs).stdout == f"{programs / 'python7.11'}\n"


def test_takes_python3_where_that_is_the_newest(tmp_path: Path, programs: Path) -> None:
    project = checkout(tmp_path / "project", "7.10", "7.11")
    interpreter(programs, "python7.10", "7.10")
    interpreter(programs, "python3", "7.11")
    assert choose(project, programs).stdout == f"{programs / 'python3'}\n"


def test_passes_over_a_python_without_venv(tmp_path: Path, programs: Path) -> None:
    project = checkout(tmp_path / "project", "7.10", "7.11")
    interpreter(programs, "python7.11", "7.11", venv=False)
    interpreter(programs, "python7.10", "7.10")
    assert choose(project, programs).stdout == f"{programs / 'python7.10'}\n"


def test_says_what_to_install_where_none_has_venv(tmp_path: Path, programs: Path) -> None:
    project = checkout(tmp_path / "project", "7.11")
    path = interpreter(programs, "python7.11", "7.11", venv=False)
    chosen = choose(project, programs)
    assert (chosen.returncode, chosen.stdout) == (2, "")
    assert str(path) in chosen.stderr and "apt-get install python3-venv" in chosen.stderr


def test_says_what_to_install_where_there_is_no_python(tmp_path: Path, programs: Path) -> None:
    chosen = choose(checkout(tmp_path / "project", "7.10", "7.11"), programs)
    assert (chosen.returncode, chosen.stdout) == (2, "")
    assert "no Python 7.11, 7.10 was found" in chosen.stderr and "apt-get install python3" in chosen.stderr


@pytest.mark.parametrize("version", ["3.10", "4.0"])
def test_says_of_a_python_that_is_not_supported_which_are(
    tmp_path: Path, programs: Path, version: str
) -> None:
    path = interpreter(programs, "it", version)
    chosen = choose(ROOT, programs, str(path))
    assert (chosen.returncode, chosen.stdout) == (2, "")
    assert f"is Python {version}; lightwell runs on" in chosen.stderr and "3.11" in chosen.stderr


def test_says_of_a_python_that_does_not_run_that_it_does_not(tmp_path: Path, programs: Path) -> None:
    chosen = choose(ROOT, programs, "no-such-python")
    assert (chosen.returncode, chosen.stdout) == (2, "")
    assert "PYTHON=no-such-python cannot be run" in chosen.stderr


@pytest.mark.parametrize(("found", "is_kept"), [("another", False), ("same", True), ("broken", False)])
def test_makes_the_environment_of_another_python_anew(tmp_path: Path, found: str, is_kept: bool) -> None:
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    old = folder / "bin" / "python"
    if found == "same":
        old.symlink_to(sys.executable)
    elif found == "another":
        old.write_text("#!/bin/sh\necho 3.10 /usr\n")
        old.chmod(0o755)
    else:
        old.symlink_to(tmp_path / "gone")
    mark = folder / "left"
    mark.touch()
    python = sys.executable
    made = subprocess.run(
        [ROOT / "tools/venv", folder, "nothing", python], capture_output=True, text=True, check=True
    )
    assert mark.exists() == is_kept
    assert ("is made anew" in made.stderr) == (found == "another")
    version = subprocess.run([folder / "bin/python", "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith(f"Python {HERE}")


def test_refuses_in_make_what_the_tools_refuse() -> None:
    made = subprocess.run(
        ["make", "-C", ROOT, "demo", "PYTHON=no-such-python", "VENV=no-such-folder"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert made.returncode == 2
    assert "PYTHON=no-such-python cannot be run" in made.stderr and "constraints" not in made.stderr


def test_leaves_out_on_the_oldest_python_only_what_is_there() -> None:
    planned = subprocess.run(
        ["make", "-C", ROOT, "-n", "test-bytes"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    left_out = re.findall(r"--(?:ignore|deselect)=(\S+)", planned.stdout)
    assert len(left_out) > 20
    for name in left_out:
        path, _, test = name.partition("::")
        assert (ROOT / path).exists(), name
        assert not test or f"def {test}(" in (ROOT / path).read_text(), name
