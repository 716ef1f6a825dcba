"""A folder as a bucket.

Names are keys as they are. Nothing outside the folder can be reached: no ``..``, no link that leads out. Only
regular files are opened, never waiting for the other end of a pipe.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from lightwell.errors import InputError, LightwellError, StorageError
from lightwell.stores.buckets.fetched import Fetched
from lightwell.stores.objects.local import is_away, make_folders, storage_error, sync_folder

# How many names of one folder are sorted in memory at a time; up to twice as many are held.
_BATCH = 100_000
_TEMPORARY = ".lightwell-"  # and 16 hex digits and .part; never listed

_NO_RIGHT = "this server has no permission; check its owner and mode"


class LocalBucket:
    """The folder ``root``, which may itself be a link to anywhere."""

    def __init__(self, root: Path, name: str) -> None:
        self._root = os.path.realpath(root)
        self._name = name

    def list(self, prefix: str, after: str = "") -> Iterator[tuple[str, int, str | None]]:
        for key, size in self._list(prefix):
            yield key, size, None

    def _list(self, prefix: str) -> Iterator[tuple[str, int]]:
        if "\0" in prefix or not _is_plain(prefix.rpartition("/")[0].split("/") if "/" in prefix else []):
            raise InputError(
                f"s3://{self._name}/{_shown(prefix)} is not a prefix of any key that can exist here"
            )
        folder, slash, start = prefix.rpartition("/")
        real = os.path.realpath(f"{self._root}/{folder}") if folder else self._root
        if not self._holds(real):
            raise InputError(f"s3://{self._name}/{_shown(folder)} is a link that leads out of the bucket")
        if not Path(real).is_dir():
            return
        try:
            yield from self._walk(real, folder + slash, start, linked=False)
        except PermissionError:
            where = f"s3://{self._name}/{_shown(folder + slash)}"
            raise InputError(f"{where} cannot be listed: {_NO_RIGHT}") from None
        except OSError as error:
            raise storage_error(error, f"{self._root} cannot be listed") from error

    def _walk(self, folder: str, above: str, start: str, *, linked: bool) -> Iterator[tuple[str, int]]:
        for name in _sorted_names(folder, start):
            if not name.endswith("/"):
                size = _size(f"{folder}/{name}")
                if size is not None:
                    yield above + _decodable(name), size
                continue
            path, key = f"{folder}/{name[:-1]}", above + _decodable(name)
            link = Path(path).is_symlink()
            if link:
                real = os.path.realpath(path)
                # Links out of the bucket or to a folder above, and links below links (there may be circles)
                # are listed as files: fetching them tells why they are not followed.
                if linked or not self._holds(real) or f"{path}/".startswith(f"{real}/"):
                    yield key[:-1], 0
                    continue
            try:
                yield from self._walk(path, key, "", linked=linked or link)
            except PermissionError:
                yield key[:-1], 0

    def fetch(
        self,
        key: str,
        *,
        memory_limit: int,
        spool_dir: Path,
        listed: int | None = None,
        sealed: bool = False,
    ) -> Fetched:
        path = self._resolve(key)
        try:
            # Never wait: opening a pipe without a writer would block.
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            raise self._refusal(key, path, error) from None
        try:
            kind = os.fstat(fd).st_mode
        finally:
            os.close(fd)
        if not stat.S_ISREG(kind):
            raise self._not_a_file(key, kind)
        return Fetched(Path(path))

    def put(self, key: str, data: bytes) -> None:
        with self._replacing(key) as stream:
            stream.write(data)

    def put_file(self, key: str, path: Path) -> None:
        with path.open("rb") as source, self._replacing(key) as stream:
            while block := source.read(1 << 20):
                stream.write(block)

    def take_file(self, key: str, path: Path) -> None:
        target = self._target(key)
        try:
            make_folders(target.parent)
            with path.open("rb") as source:
                os.fsync(source.fileno())
            path.rename(target)
            sync_folder(target.parent)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise _unwritable(error, f"s3://{self._name}/{_shown(key)}") from error
            self.put_file(key, path)

    def remove(self, keys: Sequence[str]) -> None:
        folders = set()
        for key in keys:
            target = self._target(key)
            try:
                target.unlink(missing_ok=True)
            except NotADirectoryError:
                continue
            except OSError as error:
                raise storage_error(error, f"s3://{self._name}/{_shown(key)} cannot be removed") from error
            folders.add(target.parent)
        self._remove_empty(folders)

    def remove_unfinished(self, folder: str) -> None:
        top = self._target(f"{folder}{_TEMPORARY}").parent
        found = [
            Path(place, name)
            for place, _, names in os.walk(top)
            for name in names
            if name.startswith(_TEMPORARY) and name.endswith(".part")
        ]
        for path in found:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                where = f"s3://{self._name}/{_shown(folder)}"
                raise storage_error(error, f"What is left below {where} cannot be removed") from error
        self._remove_empty({path.parent for path in found})

    def _remove_empty(self, folders: set[Path]) -> None:
        """Remove those of the folders, and of those above, in which nothing is left."""
        root = Path(self._root)
        while folders:
            above = set()
            for folder in folders:
                with contextlib.suppress(OSError):  # another file is in it, or it is gone
                    if folder != root:
                        folder.rmdir()
                        above.add(folder.parent)
            folders = above

    def _replacing(self, key: str) -> _Replacing:
        return _Replacing(self._target(key), f"s3://{self._name}/{_shown(key)}")

    def _target(self, key: str) -> Path:
        """Where a key is written. Raises `StorageError` for one that cannot be."""
        parts = key.split("/")
        if "\0" in key or not key or not _is_plain(parts):
            raise StorageError(f"s3://{self._name}/{_shown(key)} is not a key that can be written here.")
        target = Path(self._root, *parts)
        if not self._holds(os.path.realpath(target.parent)):
            raise StorageError(
                f"s3://{self._name}/{_shown(key)} is reached through a link that leads out of the bucket."
            )
        return target

    def _resolve(self, key: str) -> str:
        if "\0" in key or not key or not _is_plain(key.split("/")):
            raise InputError(f"s3://{self._name}/{_shown(key)} does not exist")
        try:
            path = os.path.realpath(f"{self._root}/{key}")
        except OSError as error:
            raise self._refusal(key, key, error) from None
        if not self._holds(path):
            raise InputError(f"s3://{self._name}/{_shown(key)} is a link that leads out of the bucket")
        return path

    def _holds(self, real: str) -> bool:
        return real == self._root or real.startswith(self._root.rstrip("/") + "/")

    def _refusal(self, key: str, path: str, error: OSError) -> LightwellError:
        where = f"s3://{self._name}/{_shown(key)}"
        if is_away(error):
            return storage_error(error, f"{where} cannot be read")
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            if Path(self._root, key).is_symlink():
                return InputError(f"{where} is a link to nothing")
            hint = "; its name is not UTF-8: rename it" if "\ufffd" in key else ""
            return InputError(f"{where} does not exist{hint}")
        if isinstance(error, PermissionError):
            return InputError(f"{where} cannot be read: {_NO_RIGHT}")
        try:
            return self._not_a_file(key, os.lstat(path).st_mode)
        except OSError:
            return InputError(f"{where} cannot be read: {error.strerror}")

    def _not_a_file(self, key: str, kind: int) -> InputError:
        where = f"s3://{self._name}/{_shown(key)}"
        if stat.S_ISDIR(kind):
            return InputError(f"{where} is a folder, or a link to one that is not followed")
        names = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFLNK: "a link"}
        return InputError(f"{where} is {names.get(stat.S_IFMT(kind), 'a device')}, not a file")


class _Replacing:
    """A file that replaces another when the block ends without an error."""

    def __init__(self, target: Path, where: str) -> None:
        self._target = target
        self._where = where
        self._temporary = target.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}.part")

    def __enter__(self) -> _Replacing:
        try:
            make_folders(self._target.parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            # The files written here are reports, which name patients' files.
            self._stream = os.fdopen(os.open(self._temporary, flags, 0o600), "wb")
        except OSError as error:
            raise _unwritable(error, self._where) from error
        return self

    def write(self, data: bytes) -> None:
        self._stream.write(data)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self._stream.flush()
                os.fsync(self._stream.fileno())
                self._stream.close()
                self._temporary.rename(self._target)
                sync_folder(self._target.parent)
        except OSError as failed:
            error = failed
        if error is not None:
            with contextlib.suppress(OSError):
                self._stream.close()  # the disk may be full; the bytes are not needed
            with contextlib.suppress(OSError):
                self._temporary.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise _unwritable(error, self._where) from error


def _unwritable(error: OSError, where: str) -> LightwellError:
    """An `InputError` for what the bucket's owner can fix; what may pass, or has failed, is our fault."""
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return InputError(f"{where} cannot be written: {_NO_RIGHT}")
    return storage_error(error, f"{where} cannot be written", writing=True)


def _sorted_names(folder: str, start: str) -> Iterator[str]:
    """The names in ``folder`` that begin with ``start``, in order; folders end in a slash.

    So they come in the order of whole keys, in which ``a-b`` precedes ``a/b``. A folder with more than
    `_BATCH` names is read several times, each time for the next smallest ones.
    """
    after = ""
    while True:
        kept: list[str] = []
        limit: str | None = None
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if not name.startswith(start) or (name.startswith(_TEMPORARY) and name.endswith(".part")):
                    continue
                if _is_folder(entry):
                    name += "/"
                if name <= after or (limit is not None and name > limit):
                    continue
                kept.append(name)
                if len(kept) == 2 * _BATCH:
                    kept.sort()
                    del kept[_BATCH:]
                    limit = kept[-1]
        kept.sort()
        more = limit is not None or len(kept) > _BATCH
        del kept[_BATCH:]
        yield from kept
        if not more:
            return
        after = kept[-1]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or through a folder that may not be read
        return False


def _size(path: str) -> int | None:
    """The size of a file in bytes; 0 for anything else; None if it is gone."""
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            status = Path(path).stat()
    except FileNotFoundError:
        return 0 if Path(path).is_symlink() else None
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _is_plain(parts: list[str]) -> bool:
    return not any(part in ("", ".", "..") for part in parts)


def _decodable(name: str) -> str:
    """``name``, or a recognisable form of it if its bytes are not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("utf-8", "replace")
    return name


def _shown(key: str) -> str:
    """``key`` on one line."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in key)
