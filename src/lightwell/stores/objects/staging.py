"""Packs that a process writes which may write nowhere else: it has a folder below that of the objects.

What it has written becomes an object by `adopt`, which believes nothing of it: a codec worker may have been
taken over by a file. A worker that is killed leaves its folder; `LocalObjects.sweep` removes it in time.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from lightwell.errors import StorageError
from lightwell.stores.objects.interface import MissingObjectError, valid_key
from lightwell.stores.objects.local import (
    STAGING,
    TEMPORARY,
    LocalObjects,
    make_folders,
    storage_error,
    sync_folder,
)

_SET_LEASE = getattr(fcntl, "F_SETLEASE", None)  # Linux
_HAS_WRITERS = (errno.EAGAIN, errno.EBUSY)


def make_staging(objects: LocalObjects) -> Path:
    """A new folder for one process, on the file system of the objects. Raises `StorageError`."""
    above = objects.root / TEMPORARY
    try:
        make_folders(above)
        return Path(tempfile.mkdtemp(prefix=STAGING, dir=above))
    except OSError as error:
        raise storage_error(error, f"{above} cannot be written to") from error


def staged_path(staging: Path, key: str) -> Path:
    """Where in its folder a process writes what is to become the object ``key``."""
    return staging / valid_key(key).replace("/", ".")


def adopt(objects: LocalObjects, key: str, staging: Path) -> int:
    """Make the object ``key`` of what was staged for it, durably; its size.

    Raises `StorageError` if that is no file, may still be changed, or would replace an object.
    """
    target = objects.root / valid_key(key)
    # A name of its own, so that whoever staged it has no path to it any more.
    private = objects.root / TEMPORARY / random.randbytes(16).hex()
    try:
        staged_path(staging, key).rename(private)
        try:
            size = _settle(private)
            make_folders(target.parent)
            if os.path.lexists(target):
                raise StorageError(f"{target} is not written: it exists already.")
            private.rename(target)
        except BaseException:
            _discard(private)
            raise
        sync_folder(target.parent)
        sync_folder(private.parent)
    except OSError as error:
        raise storage_error(error, f"{target} cannot be written", writing=True) from error
    return size


def _discard(path: Path) -> None:
    try:
        path.unlink()
    except IsADirectoryError:
        shutil.rmtree(path, ignore_errors=True)
    except OSError:
        pass  # it is swept later


def _settle(path: Path) -> int:
    """The size of a file that nobody can change any more, which is durable when this returns."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode) or state.st_nlink != 1 or _has_writers(path, fd):
            raise StorageError("A codec worker handed in what it can still change: has a file taken it over?")
        os.fsync(fd)
        return state.st_size
    finally:
        os.close(fd)


def _has_writers(path: Path, fd: int) -> bool:
    """Whether the file is open for writing anywhere; False where the file system cannot tell.

    A lease for reading is granted only where it is not (fcntl(2)).
    """
    if _SET_LEASE is None:
        return False
    try:
        fcntl.fcntl(fd, _SET_LEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno in _HAS_WRITERS and _grants_leases(path.parent)
    fcntl.fcntl(fd, _SET_LEASE, fcntl.F_UNLCK)
    return False


def _grants_leases(folder: Path) -> bool:
    """Whether the file system grants a lease of a file that nobody can write to: a network's may grant none,
    and says the same as for one that has writers."""
    fd, name = tempfile.mkstemp(dir=folder)
    try:
        os.close(fd)
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        assert _SET_LEASE is not None
        fcntl.fcntl(fd, _SET_LEASE, fcntl.F_RDLCK)
    except OSError:
        return False
    finally:
        with suppress(OSError):
            os.close(fd)
        Path(name).unlink(missing_ok=True)
    return True


def open_to_lend(objects: LocalObjects, key: str) -> int:
    """A descriptor of an object, to read, for a process that may open nothing itself."""
    try:
        return os.open(objects.root / valid_key(key), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise MissingObjectError(
            f"{objects.root}/{key} is not there: was it removed by hand? Restore it from a backup."
        ) from None
    except OSError as error:
        raise storage_error(error, f"{objects.root}/{key} cannot be read") from error
