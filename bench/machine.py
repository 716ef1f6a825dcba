"""What a measurement must say about where it was made."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path

_PACKAGES = ("imagecodecs", "pydicom", "uvicorn", "starlette", "sqlalchemy", "numpy")


def facts() -> dict[str, str]:
    """Date, commit, processor, memory, kernel and the versions of everything that takes part."""
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    processor = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "commit": _said(["git", "rev-parse", "--short=10", "HEAD"]),
        "processor": f"{os.cpu_count()} × {processor[1].strip() if processor else platform.machine()}",
        "memory": f"{int(memory[1]) / 1048576:.0f} GiB" if memory else "?",
        "kernel": platform.release(),
        "Python": platform.python_version(),
    }
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    for name, command, pattern in (
        ("Orthanc", ["Orthanc", "--version"], r"Orthanc\s+([\d.]+)"),
        ("nginx", ["nginx", "-v"], r"nginx/([\d.]+)"),
        ("wrk", ["wrk", "-v"], r"wrk\s+\S*?([\d.]+)"),
    ):
        if version := re.search(pattern, _said(command)):
            found[name] = version[1]
    return found


def _said(command: list[str]) -> str:
    """What a command prints, empty if there is no such command."""
    program = shutil.which(command[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        return ""
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()
