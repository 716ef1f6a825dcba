"""A disk that fails on demand, for all processes of a server: `faulty_disk.c`, built with the system's cc."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import IntEnum, IntFlag
from pathlib import Path

import pytest

# `struct control` there.
_ORDER = struct.Struct("=IIiIQQ")
_COUNTS = struct.Struct("=QQ")
_COUNTS_AT = _ORDER.size
_FOLDER_AT = _COUNTS_AT + _COUNTS.size
_FOLDER, _PART, _WHAT = 1024, 256, 1024
_SIZE = _FOLDER_AT + _FOLDER + _PART + _WHAT
_EVER = 2**64 - 1

# A codec worker is given no variables but Python's (`lightwell.settings.worker_environment`): it begins anew.
_SITE = """
import os, sys
wanted = os.environ.get("PYTHON_FAULTY_LIBRARY")
if wanted and os.environ.get("LD_PRELOAD") != wanted:
    os.environ["LD_PRELOAD"] = wanted
    os.execv(sys.executable, sys.orig_argv)
"""


class Kind(IntEnum):
    """What happens to a call."""

    NONE = 0
    FAIL = 1
    TEAR = 2  # half of the first write is made, the next fail
    DROP = 3  # an fsync fails, and what was written since the last good one is gone
    DELAY = 4
    DIE = 5  # the process is killed before the call
    DIE_TORN = 6  # ... when half of the write is made


class Call(IntFlag):
    """Which calls are counted."""

    WRITE = 1
    SYNC = 2
    OPEN = 4  # of a new file, and on a read-only disk any for writing
    NAME = 8  # rename, link, mkdir
    SIZE = 16
    REMOVE = 32


#: what needs room on a disk
GROWS = Call.WRITE | Call.OPEN | Call.NAME | Call.SIZE
CHANGES = GROWS | Call.SYNC | Call.REMOVE


@dataclass(frozen=True, slots=True)
class Fault:
    """From the ``first`` call on, counted from 1, so many more are hit as ``last`` says, or all."""

    kind: Kind
    calls: Call = CHANGES
    error: int = 0
    first: int = 1
    last: int | None = None
    part: str = ""
    delay: float = 0.0

    def at(self, number: int, part: str = "") -> Fault:
        """The same at another call."""
        return replace(self, first=number, part=part)

    def __str__(self) -> str:
        error = f" {errno.errorcode[self.error]}" if self.error else ""
        more = "and all others" if self.last is None else f"and {self.last} more"
        return f"{self.kind.name}{error} at {self.calls.name} {self.first} of …{self.part}… {more}"


class FaultyDisk:
    """The part of a disk below ``folder``. ``environment`` is for whatever shall use it.

    ``scratch`` is a folder elsewhere, for what is built.
    """

    def __init__(self, folder: Path, scratch: Path) -> None:
        scratch.mkdir(parents=True)
        library = scratch / "faulty_disk.so"
        source = Path(__file__).with_suffix(".c")
        compiler = shutil.which("cc")
        if compiler is None or sys.platform != "linux":
            (pytest.fail if os.environ.get("CI") else pytest.skip)("a disk that fails needs Linux and cc")
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        (scratch / "sitecustomize.py").write_text(_SITE)
        control = scratch / "control"
        control.write_bytes(bytes(_SIZE))
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), _SIZE)
        self._folder = os.fsencode(folder)
        self.environment: Mapping[str, str] = {
            "LD_PRELOAD": str(library),
            "PYTHONPATH": str(scratch),
            "PYTHON_FAULTY_LIBRARY": str(library),
            "PYTHON_FAULTY_DISK": str(control),
        }

    def set(self, fault: Fault) -> None:
        """From now on; the calls are counted anew."""
        self.mend()
        last = _EVER if fault.last is None else fault.first + fault.last
        named = struct.pack(f"={_FOLDER}s{_PART}s{_WHAT}x", self._folder, fault.part.encode())
        self._control[_FOLDER_AT:] = named
        _COUNTS.pack_into(self._control, _COUNTS_AT, 0, 0)
        calls, delay = int(fault.calls), int(fault.delay * 1e6)
        # The kind last: a call that looks meanwhile finds none.
        _ORDER.pack_into(self._control, 0, 0, calls, fault.error, delay, fault.first, last)
        self._control[0] = int(fault.kind)

    def mend(self) -> None:
        """Nothing fails any more; what was counted stays."""
        self._control[0] = 0

    @contextmanager
    def fault(self, fault: Fault) -> Iterator[None]:
        self.set(fault)
        try:
            yield
        finally:
            self.mend()

    @property
    def count(self) -> int:
        """How many calls were made while a fault was set."""
        return int(_COUNTS.unpack_from(self._control, _COUNTS_AT)[0])

    @property
    def hits(self) -> int:
        return int(_COUNTS.unpack_from(self._control, _COUNTS_AT)[1])

    @property
    def what(self) -> str:
        """The first call that was hit: its kind and its path, empty if none was."""
        text = bytes(self._control[_FOLDER_AT + _FOLDER + _PART :]).partition(b"\0")[0].decode()
        number, _, path = text.partition(" ")
        return f"{Call(int(number)).name} {path}" if number else ""
