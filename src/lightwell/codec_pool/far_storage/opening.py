"""Files that the engine opens for codec workers, which may open none."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lightwell.errors import InputError
from lightwell.stores.data_folder.sealed_files import FileKey, FileOpener
from lightwell.stores.keys.ring import KeyRing
from lightwell.stores.keys.uploaded_files import check_plain, key_of
from lightwell.stores.objects.local import is_away, storage_error


def open_input(path: str) -> int:
    """A descriptor of a file that a person has named, or that lightwell has spooled."""
    try:
        # Never wait: opening a pipe without a writer would block.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if is_away(error):
            raise storage_error(error, f"{path} cannot be read") from error
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise InputError(f"{path} cannot be read: it is not a file")
    return fd


def open_fetched(path: Path, *, is_ours: bool) -> int:
    """A descriptor of what a bucket has fetched; a file that ``is_ours`` has no name afterwards."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise storage_error(error, f"{path} cannot be read") from error
    finally:
        if is_ours:
            path.unlink(missing_ok=True)


def uploaded_key(
    keys: KeyRing,
    datastore: str,
    name: str,
    data: bytes | None,
    descriptor: int | None,
    spooled: FileKey | None = None,
) -> FileKey | None:
    """What opens an object of a bucket, in memory or open, if it is one that the console has sealed.

    ``spooled`` is what opens a copy of one that did not look so. Raises `InputError` if it was for another
    data store than this one, an id; `SpooledFileDamagedError` where it was sealed and is damaged.
    """
    if spooled is not None:
        check_plain(keys, name, FileOpener(spooled).size)
        return spooled
    if descriptor is None:
        whole = data or b""
        size, read = len(whole), lambda offset, length: whole[offset : offset + length]
    else:
        size, read = os.fstat(descriptor).st_size, lambda offset, length: os.pread(descriptor, length, offset)
    return key_of(keys, datastore, name, read, size)
