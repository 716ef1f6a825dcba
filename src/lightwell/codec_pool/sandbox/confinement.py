"""What a codec worker gives up before it reads the first byte from outside: see SECURITY.md.

Three features of Linux, each used where the kernel has it: no_new_privs (no program gains privileges by
being started), a filter of system calls (`seccomp`), and restricted access to the file system (`landlock`).
They are set through ctypes, in some two hundred lines: the packages for it are young or wrap a C library
(libseccomp, LGPL) that would have to be installed, and would only save tables of numbers that never change.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from lightwell.codec_pool.sandbox import landlock, seccomp

_PR_SET_NO_NEW_PRIVS = 38

# What a running Python opens: libraries and modules that are loaded late, time zones, the number of cores.
_SYSTEM = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/null",
    "/dev/zero",
    "/dev/urandom",
    "/dev/random",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
)


def confine(reading: Iterable[str], writing: Iterable[str]) -> list[str]:
    """Give up everything but the program itself and these places, for good.

    Returns a sentence for each thing that could not be given up. To be called before there is a second
    thread: one that runs already can still open any file. No connection can be made.
    """
    if sys.platform != "linux":
        return [f"lightwell has no way to confine a process on {sys.platform}"]
    missing = []
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        missing.append(f"no_new_privs cannot be set: {os.strerror(ctypes.get_errno())}")
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        missing.append("threads that ran before it was confined can still open any file")
    problem = landlock.restrict([*reading, *_program()], writing)
    if problem:
        missing.append(
            f"no Landlock ({problem}): a file that has taken over a codec worker can read what this user can"
        )
    # Last, since the calls above may be among those that it denies.
    problem = seccomp.filter_calls()
    if problem:
        missing.append(
            f"no seccomp filter ({problem}): a file that has taken over a codec worker can start programs "
            "and connect to others"
        )
    return missing


def _program() -> Iterator[str]:
    yield from _SYSTEM
    yield from dict.fromkeys((sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix))
    yield from (path for path in sys.path if path)
    yield from _libraries()


def _libraries() -> set[str]:
    """The folders of the libraries that are loaded; others that they load are there, too."""
    found = set()
    for line in Path("/proc/self/maps").read_text("utf-8", "replace").splitlines():
        folder, _, name = line.rpartition(" ")[2].rpartition("/")
        if folder and ".so" in name:
            found.add(folder)
    return found
