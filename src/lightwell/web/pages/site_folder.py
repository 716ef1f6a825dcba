"""The files of an unpacked viewer: which there are, and their bytes as they are served.

Only what was found in the folder when the process first looked is served, by its exact path, so no request
can lead out of it. What compresses is kept compressed, in bounded memory.
"""

from __future__ import annotations

import os
import stat
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from cachetools import LRUCache
from isal import igzip

INDEX = "index.html"
LARGEST = 64 << 20
"""A longer file is not served: nothing of a viewer is."""
MOST_FILES = 20_000
CACHED_BYTES = 48 << 20
_PIECE = 256 << 10
_LEVEL = 2

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".jsonc": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webapp": "application/manifest+json",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
}
_COMPRESSED = frozenset((".ico", ".jpg", ".png", ".woff2"))


class Change(Protocol):
    """Changes the bytes of a file before they are served; ``path`` is relative to the folder."""

    def __call__(self, path: str, data: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class SiteFile:
    """A file as it is served. ``etag`` is that of ``data``, which is compressed with gzip if ``is_gzip``."""

    media_type: str
    etag: bytes
    data: bytes
    is_gzip: bool
    size: int
    """Bytes of the file before compression."""

    def pieces(self) -> Iterator[bytes]:
        """The file itself, uncompressed."""
        if not self.is_gzip:
            yield self.data
            return
        inflater, rest = zlib.decompressobj(wbits=31), self.data
        while rest:
            piece = inflater.decompress(rest, _PIECE)
            rest = inflater.unconsumed_tail
            if piece:
                yield piece


class SiteFolder:
    """The files below ``folder``, each changed by ``change``.

    `cached` may be called from any thread at any time; the others block, and belong to one thread at a time.
    """

    def __init__(self, folder: Path, change: Change) -> None:
        self._folder = folder.resolve()
        self._change = change
        self._paths: frozenset[str] | None = None
        self._cache: LRUCache[str, SiteFile] = LRUCache(CACHED_BYTES, getsizeof=lambda file: len(file.data))
        self._lock = threading.Lock()

    def has(self, path: str) -> bool:
        """Whether there is such a file; ``path`` is relative, with ``/`` between its parts."""
        if self._paths is None:
            self._paths = frozenset(_files(self._folder))
        return path in self._paths

    def cached(self, path: str) -> SiteFile | None:
        """The file if it is in memory."""
        with self._lock:
            return self._cache.get(path)

    def read(self, path: str) -> SiteFile | None:
        """The file; None if there is none."""
        found = self.cached(path)
        if found is None and self.has(path):
            found = self._read(path)
            if found is not None and len(found.data) <= CACHED_BYTES:
                with self._lock:
                    self._cache[path] = found
        return found

    def _read(self, path: str) -> SiteFile | None:
        try:
            handle = os.open(self._folder / path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        with os.fdopen(handle, "rb") as stream:
            state = os.fstat(handle)
            if not stat.S_ISREG(state.st_mode) or state.st_size > LARGEST:
                return None
            data = self._change(path, stream.read(LARGEST))
        suffix = Path(path).suffix.lower()
        is_gzip = suffix not in _COMPRESSED and len(data) > 1000
        size = len(data)
        etag = b'"%s"' % sha256(data).hexdigest()[:32].encode()
        if is_gzip:
            data = igzip.compress(data, _LEVEL)
        return SiteFile(TYPES.get(suffix, "application/octet-stream"), etag, data, is_gzip, size)


class SiteBuild:
    """What lies in a folder now: another build is noticed when its first page is asked for."""

    def __init__(self, folder: Path, change: Change) -> None:
        self._folder = folder
        self._change = change
        self._noticed: tuple[int, ...] | None = None
        self.files = SiteFolder(folder, change)
        """Those of the build that was noticed last."""

    def is_there(self) -> bool:
        """Whether there is one. Blocks for as long as a `stat` takes."""
        return (self._folder / INDEX).is_file()

    def notice(self) -> None:
        """Look whether it is another one. Blocks for as long as a `stat` takes."""
        try:
            found = (self._folder / INDEX).stat()
        except OSError:
            build = None
        else:
            build = (found.st_ino, found.st_mtime_ns, found.st_size)
        if build != self._noticed:
            self.files, self._noticed = SiteFolder(self._folder, self._change), build


def _files(folder: Path) -> Iterator[str]:
    """The regular files below the folder; symbolic links are not followed, hidden files left out."""
    count = 0
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            try:
                state = path.lstat()
            except OSError:
                continue
            if name.startswith(".") or not stat.S_ISREG(state.st_mode) or state.st_size > LARGEST:
                continue
            count += 1
            if count > MOST_FILES:
                return
            yield path.relative_to(folder).as_posix()
