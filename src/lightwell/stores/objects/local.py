"""Objects as files of a folder, durable: temporary file, fsync, rename, fsync of both folders."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import threading
from asyncio import AbstractEventLoop
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.stores.objects.interface import (
    MissingObjectError,
    ObjectWriter,
    check_round_trip,
    is_key,
    valid_key,
    valid_prefix,
)

_OPEN_FILES = 128
_advise = getattr(os, "posix_fadvise", None)  # not everywhere
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
_PROBE = [bytearray(1)]  # what is read into it is looked at by nobody
TEMPORARY = ".tmp"  # no key begins with a dot
STAGING = "worker-"


class _Handle:
    """An open file, closed when its last reader releases it, whatever the cache does meanwhile."""

    __slots__ = ("fd",)

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)


class LocalObjects:
    """The files of ``root``, which is made on the first write. Many processes may share it."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.address = str(self.root)
        self._base = f"{self.root}/"
        self._handles: OrderedDict[str, _Handle] = OrderedDict()
        self._lock = threading.Lock()

    # Writing --------------------------------------------------------------------------------------------

    def put(self, key: str, data: bytes) -> None:
        writer = self.writer(key)
        try:
            writer.write(data)
            writer.commit()
        finally:
            writer.abort()

    def put_file(self, key: str, path: Path) -> None:
        with path.open("rb", buffering=0) as source:
            self.put_stream(key, source, os.fstat(source.fileno()).st_size)

    def put_stream(self, key: str, stream: IO[bytes], size: int) -> None:
        writer = self.writer(key)
        try:
            while block := stream.read(1 << 20):
                writer.write(block)
                size -= len(block)
            if size:
                raise StorageError(f"{self._base}{key} is not written: the file has changed meanwhile.")
            writer.commit()
        finally:
            writer.abort()

    def writer(self, key: str, spool_dir: Path | None = None) -> ObjectWriter:
        return _LocalWriter(self, valid_key(key))

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            raise storage_error(error, f"{path} cannot be removed") from error
        finally:
            with self._lock:
                self._handles.pop(key, None)
        sync_folder(path.parent)

    # Reading --------------------------------------------------------------------------------------------

    def read(self, key: str, offset: int, length: int) -> bytes:
        return self._read(self._handle(key), key, offset, length)

    def _read(self, handle: _Handle, key: str, offset: int, length: int) -> bytes:
        try:
            data = os.pread(handle.fd, length, offset)
            while len(data) < length:
                more = os.pread(handle.fd, length - len(data), offset + len(data))
                if not more:
                    raise StorageError(
                        f"{self._base}{key} ends at byte {offset + len(data)}, but {length} bytes from "
                        f"{offset} were requested: it is damaged; restore it from a backup."
                    )
                data += more
        except OSError as error:
            raise storage_error(error, f"{self._base}{key} cannot be read") from error
        return data

    def blocks(self, key: str, buffer: memoryview) -> Iterator[memoryview]:
        """All of an object, piece by piece in ``buffer``: each is gone when the next is asked for."""
        handle, place = self._handle(key), 0
        while True:
            try:
                count = os.preadv(handle.fd, [buffer], place)
            except OSError as error:
                raise storage_error(error, f"{self._base}{key} cannot be read") from error
            if not count:
                return
            place += count
            yield buffer[:count]

    def read_warm(self, key: str, offset: int, length: int) -> bytes | None:
        handle = self._handle(key)
        fd = handle.fd
        try:
            # If both ends are in the page cache, so is almost certainly what lies between them.
            if os.preadv(fd, _PROBE, offset, _NOWAIT) != 1:
                return None
            if os.preadv(fd, _PROBE, offset + length - 1, _NOWAIT) != 1:
                return None
        except OSError:
            return None  # not in memory, or the file system cannot tell
        return self._read(handle, key, offset, length)

    def read_warm_into(self, key: str, offset: int, buffer: memoryview) -> bool:
        """As `read_warm`, into a buffer of that length; False if that would block, or the file is shorter."""
        fd = self._handle(key).fd
        try:
            return os.preadv(fd, [buffer], offset, _NOWAIT) == len(buffer)
        except OSError:
            return False

    def fetch(self, key: str, offset: int, length: int) -> None:
        return None

    def follow(self, objects: Sequence[tuple[str, int]]) -> None:
        """The system reads ahead."""

    def expect(self, ranges: Sequence[tuple[str, int, int]]) -> None:
        # Small ranges far apart, which the system does not foresee: a disk gets them all at once.
        if _advise is None:
            return
        with contextlib.suppress(OSError, StorageError):
            for key, offset, length in ranges:
                _advise(self._handle(key).fd, offset, length, os.POSIX_FADV_WILLNEED)

    def use_loop(self, loop: AbstractEventLoop) -> None:
        """None is needed."""

    def read_again(self, key: str, offset: int, length: int) -> bytes:
        return self.read(key, offset, length)

    def past_cache(self) -> LocalObjects:
        return self

    def sweep_cache(self, exist: Callable[[Sequence[str]], set[str]]) -> int:
        return 0

    def get(self, key: str) -> bytes | None:
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, f"{self._base}{key} cannot be read") from error

    def size(self, key: str) -> int | None:
        try:
            return self._path(key).stat().st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, f"{self._base}{key} cannot be read") from error

    def exists(self, key: str) -> bool:
        return self.size(key) is not None

    def list(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        prefix = valid_prefix(prefix)
        yield from self._walk(self._base + prefix if prefix else str(self.root))

    def _walk(self, folder: str) -> Iterator[tuple[str, int]]:
        try:
            entries = os.scandir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise storage_error(error, f"{folder} cannot be listed") from error
        with entries:
            for entry in entries:
                if not is_key(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from self._walk(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    try:
                        size = entry.stat(follow_symlinks=False).st_size
                    except FileNotFoundError:
                        continue
                    yield entry.path.removeprefix(self._base), size

    # Care -----------------------------------------------------------------------------------------------

    def stale(self, prefix: str, older_than: int) -> Iterator[str]:
        for key, _ in self.list(prefix):
            with contextlib.suppress(FileNotFoundError):
                if self._path(key).stat().st_mtime_ns // 1_000_000 < older_than:
                    yield key

    def sweep(self, older_than: int) -> int:
        above = self.root / TEMPORARY
        removed = sweep_folder(above, older_than)
        # Of processes that are gone (`stores.objects.staging`).
        for folder in above.glob(f"{STAGING}*"):
            with contextlib.suppress(OSError):
                removed += sweep_folder(folder, older_than)
                if folder.stat().st_mtime_ns // 1_000_000 < older_than:
                    folder.rmdir()  # unless something newer is in it
        return removed

    def check(self) -> None:
        check_round_trip(self)

    def close(self) -> None:
        with self._lock:
            self._handles.clear()

    def _path(self, key: str) -> Path:
        return self.root / valid_key(key)

    def _handle(self, key: str) -> _Handle:
        handles = self._handles
        with self._lock:
            handle = handles.get(key)
            if handle is not None:
                handles.move_to_end(key)
        # A file that another process has deleted stays on the disk for as long as it is open here.
        if handle is not None and os.fstat(handle.fd).st_nlink:
            return handle
        try:
            handle = _Handle(self._base + valid_key(key))
        except FileNotFoundError:
            with self._lock:
                handles.pop(key, None)
            raise MissingObjectError(
                f"{self._base}{key} is not there: was it removed by hand? Restore it from a backup."
            ) from None
        except OSError as error:
            raise storage_error(error, f"{self._base}{key} cannot be read") from error
        with self._lock:
            handles[key] = handle
            handles.move_to_end(key)
            while len(handles) > _OPEN_FILES:
                handles.popitem(last=False)
            oldest = next(iter(handles))
            if not os.fstat(handles[oldest].fd).st_nlink:
                del handles[oldest]
        return handle

    def _forget(self, key: str) -> None:
        with self._lock:
            self._handles.pop(key, None)


class _LocalWriter:
    """A temporary file on the same file system, so that the rename copies nothing."""

    def __init__(self, objects: LocalObjects, key: str) -> None:
        self._objects = objects
        self._key = key
        self._path = objects.root / key
        self._temporary: Path | None = None
        folder = objects.root / TEMPORARY
        try:
            make_folders(folder)
            fd, temporary = tempfile.mkstemp(prefix=key.replace("/", "."), dir=folder)
            self._temporary = Path(temporary)
            self._stream = os.fdopen(fd, "wb", buffering=1 << 18)
        except OSError as error:
            raise storage_error(error, f"{folder} cannot be written to", writing=True) from error

    def write(self, data: bytes | memoryview) -> None:
        try:
            self._stream.write(data)
        except OSError as error:
            raise storage_error(error, f"{self._path} cannot be written", writing=True) from error

    def commit(self) -> None:
        assert self._temporary is not None, "committed or aborted before"
        folder = self._path.parent
        try:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
            make_folders(folder)
            is_new = not self._path.exists()
            self._temporary.rename(self._path)
            temporary, self._temporary = self._temporary, None
            try:
                sync_folder(folder)
                sync_folder(temporary.parent)
            except OSError:
                # Whoever finds it there takes it for durable, and a second fsync would claim success.
                if is_new:
                    with contextlib.suppress(OSError):
                        self._path.unlink()
                raise
        except OSError as error:
            raise storage_error(error, f"{self._path} cannot be written", writing=True) from error
        self._objects._forget(self._key)

    def abort(self) -> None:
        if self._temporary is None:
            return
        temporary, self._temporary = self._temporary, None
        with contextlib.suppress(OSError):
            temporary.unlink()  # else it is swept later
        with contextlib.suppress(OSError):
            self._stream.close()  # the disk may be full; the bytes are not needed

    def __del__(self) -> None:
        if getattr(self, "_temporary", None) is not None:
            self.abort()


def make_folders(path: Path) -> None:
    """Create ``path`` and the folders missing above it, each durably in its parent."""
    if path.is_dir():
        return
    make_folders(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(0o700)
    try:
        sync_folder(path.parent)
    except OSError:
        # A folder that is there counts as durable from then on.
        with contextlib.suppress(OSError):
            path.rmdir()
        raise


def sweep_folder(folder: Path, older_than: int) -> int:
    """Remove files in ``folder`` last written before ``older_than``, ms since the epoch. Returns how many."""
    removed = 0
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return 0
    with entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                if entry.stat(follow_symlinks=False).st_mtime_ns // 1_000_000 < older_than:
                    (folder / entry.name).unlink()
                    removed += 1
    return removed


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable, as a rename or a link has left them. Raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# No space left, or a network file system that does not answer.
_AWAY = frozenset(
    (
        *(errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE),
        *(errno.ETIMEDOUT, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH),
        *(errno.ENETDOWN, errno.ENETUNREACH),
    )
)
_PASSING = _AWAY | {errno.EACCES, errno.EPERM, errno.EROFS}


def is_away(error: OSError) -> bool:
    """Whether the storage may come back, and the file is not to blame."""
    return error.errno in _AWAY


def storage_error(error: OSError, what: str, *, writing: bool = False) -> StorageError:
    """A sentence for a person, with what to do about it.

    A disk that fails may take what is written another time, elsewhere; what it cannot read is lost.
    """
    advice = {
        errno.ENOSPC: "the disk is full: make room, nothing was lost",
        errno.EDQUOT: "the quota of this user is used up: raise it, nothing was lost",
        errno.EACCES: "this user has no permission: check its owner and mode",
        errno.EPERM: "this user has no permission: check its owner and mode",
        errno.EROFS: "the file system is mounted read-only",
        errno.EMFILE: "this process has too many files open: raise `ulimit -n`",
        errno.ENFILE: "this system has too many files open",
        errno.EIO: "the disk failed: look at the system's log",
        errno.ENOTDIR: "there is a file where a folder should be",
    }.get(error.errno or 0, error.strerror or str(error))
    is_passing = error.errno in _PASSING or (writing and error.errno == errno.EIO)
    kind = StorageUnavailableError if is_passing else StorageError
    return kind(f"{what}: {advice}.")
