"""Node's packages for the tests: those of a lock file are installed once, for all tests and processes."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
BROWSER = _ROOT / "tests" / "browser"
CONSOLE = _ROOT / "console"

_MANIFESTS = ("package.json", "package-lock.json", ".npmrc")
_NPM_CI = ["npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"]
_SECONDS = 900


def needed(*programs: str) -> None:
    """Skip where a program is missing; in CI that is a failure."""
    missing = [name for name in programs if shutil.which(name) is None]
    if not missing:
        return
    reason = f"no {' and no '.join(missing)}: run tools/system-packages"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def packages_folder(config: pytest.Config) -> Path:
    """Where packages are installed: in pytest's cache, which the processes of a run share."""
    assert config.cache is not None
    return config.cache.mkdir("javascript")


def with_packages(source: Path, packages: Path, folder: Path) -> Path:
    """Copy ``source`` to the new ``folder``, with the packages of its lock file as ``node_modules``."""
    ignored = shutil.ignore_patterns("node_modules", "dist")
    # Neither times nor modes are copied: nothing that is built may depend on them.
    shutil.copytree(source, folder, copy_function=shutil.copyfile, ignore=ignored)
    (folder / "node_modules").symlink_to(_installed(source, packages) / "node_modules")
    return folder


def run(command: Sequence[str], folder: Path) -> str:
    """What a program says that runs in ``folder`` and succeeds."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-6000:]}{done.stderr[-2000:]}"
    return done.stdout


def _installed(source: Path, packages: Path) -> Path:
    """The folder below ``packages`` that holds what the lock file names; made by whoever comes first."""
    needed("node", "npm")
    locked = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()
    folder, done = packages / source.name, packages / source.name / "installed"
    with (packages / f"{source.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() or done.read_text() != locked:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name in _MANIFESTS:
                shutil.copyfile(source / name, folder / name)
            made = subprocess.run(_NPM_CI, cwd=folder, capture_output=True, text=True, timeout=_SECONDS)
            if made.returncode and not os.environ.get("CI"):
                pytest.skip(f"npm ci failed: {made.stderr[-300:]}")
            assert made.returncode == 0, made.stderr
            done.write_text(locked)
    return folder
