"""What of the file system this process may still open (landlock(7), Linux 5.19 and later).

Numbers: include/uapi/linux/landlock.h of Linux; those of the system calls are the same on every architecture.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterable

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_DIR, _MAKE_REG = 1 << 7, 1 << 8
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_READ = _READ_FILE | _READ_DIR
_WRITE = (
    _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
)  # lightwell makes no links, devices or pipes
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
# How many rights on files each version of the interface has; later ones have as many as the last.
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_LEAST = 2  # with 1 no file can be moved to another folder, as packs are
_TCP = 3  # bind and connect, from version 4
_SCOPE = 3  # abstract sockets and signals of processes outside, from version 6


def version() -> int:
    """The version of the interface that this kernel has, 0 if it has none."""
    if sys.platform != "linux":
        return 0
    return max(_call(_CREATE, None, 0, _VERSION), 0)


def restrict(reading: Iterable[str], writing: Iterable[str]) -> str | None:
    """Leave this thread, and those that it starts, access to nothing but these places.

    Returns why that is not possible, or None once it is done. Places are files, or folders with everything
    below them; those that do not exist are left out. There is no TCP either. no_new_privs has to be set
    before.
    """
    have = version()
    if have < _LEAST:
        if have:
            return "it needs Linux 5.19 or later"
        return "the kernel has none, or keeps it from this process"
    rights = (1 << _RIGHTS[min(have, max(_RIGHTS))]) - 1
    attributes = struct.pack("=QQQ", rights, _TCP if have >= 4 else 0, _SCOPE if have >= 6 else 0)
    rules = _call(_CREATE, attributes, len(attributes), 0)
    if rules < 0:
        return os.strerror(ctypes.get_errno())
    try:
        for places, granted in ((reading, _READ), (writing, _WRITE)):
            for place in places:
                with contextlib.suppress(OSError):
                    _allow(rules, place, granted & rights)
        if _call(_RESTRICT, rules, 0):
            return os.strerror(ctypes.get_errno())
    finally:
        os.close(rules)
    return None


def _allow(rules: int, place: str, rights: int) -> None:
    fd = os.open(place, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _OF_FILES
        if _call(_ADD, rules, _PATH_BENEATH, struct.pack("=Qi", rights, fd), 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), place)
    finally:
        os.close(fd)


def _call(number: int, *arguments: bytes | int | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_long(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments]
    done: int = libc.syscall(ctypes.c_long(number), *words)
    return done
