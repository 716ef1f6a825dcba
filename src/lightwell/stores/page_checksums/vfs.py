"""Loads SQLite's own checksum VFS, and makes files whose pages have checksums.

The VFS is ``cksumvfs`` of the SQLite project (https://sqlite.org/cksumvfs.html), a loadable extension in
the public domain that the package ``apsw`` brings along; the interpreter's own SQLite loads it, and apsw
itself is never imported. It keeps 8 bytes at the end of each page, compares them with the page whenever one
is read from the file, and passes through files that have no room for them.
"""

from __future__ import annotations

import importlib.util
import os
import sqlite3
import struct
import sys
import threading
from pathlib import Path

PAGE, RESERVED = 4096, 8

_FOLDER = "sqlite_extra_binaries"
_FILE = {"darwin": "cksumvfs.dylib", "win32": "cksumvfs.dll"}.get(sys.platform, "cksumvfs.so")

_lock = threading.Lock()
_outcome: list[str | None] = []


def why_unavailable() -> str | None:
    """None once this process has the VFS, which then is that of all its connections; else why it cannot.

    Loads it when it is first called.
    """
    with _lock:
        if not _outcome:
            _outcome.append(_load())
        return _outcome[0]


def _load() -> str | None:
    path = _extension()
    if path is None:
        return "the package apsw, which brings SQLite's checksum extension, is not installed"
    connection = sqlite3.connect(":memory:")
    try:
        if not hasattr(connection, "enable_load_extension"):
            return "this Python was built without extensions of SQLite"
        connection.enable_load_extension(True)
        connection.load_extension(str(path))
    except sqlite3.Error as error:
        return f"SQLite cannot load {path}: {error}"
    finally:
        connection.close()
    return None


def _extension() -> Path | None:
    # Found without being imported: apsw has an SQLite of its own, of some megabytes.
    found = importlib.util.find_spec("apsw")
    folders = None if found is None else found.submodule_search_locations
    paths = (Path(folder, _FOLDER, _FILE) for folder in folders or ())
    return next((path for path in paths if path.is_file()), None)


def create(path: Path) -> bool:
    """Make an empty database with room for checksums; False if there is a file already.

    The file appears whole, or not at all. Raises `OSError`.
    """
    if path.exists():
        return False
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, _empty())
        os.fsync(fd)
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        os.close(fd)
        draft.unlink()
    return True


def _empty() -> bytes:
    """An empty database of one page (https://sqlite.org/fileformat2.html, 1.3 and 1.6)."""
    page = bytearray(PAGE)
    page[0:16] = b"SQLite format 3\0"
    page[16:18] = PAGE.to_bytes(2, "big")
    page[18:24] = bytes((1, 1, RESERVED, 64, 32, 32))  # versions, reserved bytes, payload fractions
    for place in (24, 28, 56, 92):  # changes of it, its pages, UTF-8, the change that its version is of
        page[place : place + 4] = (1).to_bytes(4, "big")
    page[44:48] = (4).to_bytes(4, "big")  # format of the schema
    major, minor, patch = sqlite3.sqlite_version_info
    page[96:100] = (major * 1_000_000 + minor * 1000 + patch).to_bytes(4, "big")
    # A leaf of a table without cells, whose contents would end where the reserved bytes begin.
    page[100:108] = b"\x0d\0\0\0\0" + (PAGE - RESERVED).to_bytes(2, "big") + b"\0"
    page[-RESERVED:] = checksum(bytes(page[:-RESERVED]))
    return bytes(page)


def checksum(content: bytes) -> bytes:
    """What the VFS keeps at the end of a page with this content."""
    first = second = 0
    for one, other in struct.iter_unpack("<II", content):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return struct.pack("<II", first, second)
