"""Paths of Unix sockets in the data folder, which may be longer than sockets' addresses can be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What fits into sockaddr_un everywhere, with its NUL.
_LONGEST = 100


@contextmanager
def socket_path(folder: Path, name: str) -> Iterator[str]:
    """The path as bind, connect and sendto take it: a long one through a descriptor of its folder."""
    path = str(folder.absolute() / name)
    if len(os.fsencode(path)) <= _LONGEST or not Path("/proc/self/fd").exists():
        yield path
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)
