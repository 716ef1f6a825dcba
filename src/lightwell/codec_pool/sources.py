"""Where the bytes of an input file come from: a bucket, a path on this machine, or a member of a zip file.

The engine opens or fetches them all (`codec_pool.far_storage`): this process may open no file but its own.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from lightwell.codec_pool.far_storage.client import FarClient
from lightwell.codec_pool.far_storage.messages import WHOLE
from lightwell.codec_pool.far_storage.sealed_source import SealedScratch, SealedSource
from lightwell.codec_pool.uploaded_metadata import UploadedInstance, UploadedMetadata
from lightwell.domain.imports.jobs import InputFile, unpack_files
from lightwell.errors import InputError, LightwellError, StorageError
from lightwell.imaging.dataset.byte_source import BytesSource, FileSource, fills_disk
from lightwell.imaging.dataset.part10 import meta_uids
from lightwell.stores.data_folder.sealed_files import FileKey, FileOpener, SpooledFileDamagedError
from lightwell.stores.objects.local import is_away, storage_error

_STEP = 1 << 20
# The file meta groups of so many files at once are read ahead, from so many bytes each.
_HEADS, _HEAD = 500, 4096


class OpenFile:
    """The source of one input file; `close` removes what was spooled for it.

    ``is_other``: it is an object that has been replaced since it was listed.
    """

    def __init__(
        self,
        source: BytesSource | FileSource | UploadedInstance,
        spooled: Path | None = None,
        *,
        is_other: bool = False,
    ) -> None:
        self.source = source
        self.is_other = is_other
        self._spooled = spooled

    def close(self) -> None:
        self.source.close()
        if self._spooled is not None:
            self._spooled.unlink(missing_ok=True)


class Sources:
    """Opens input files. Not for several threads at once.

    ``spool`` is a folder of its own. ``inflate_limit`` is the most bytes that a zip member may have.
    """

    def __init__(self, far: FarClient, spool: Path, inflate_limit: int) -> None:
        self._far = far
        self._spool = spool
        self._inflate_limit = inflate_limit
        self._uploads = UploadedMetadata()
        self._zip: tuple[str, zipfile.ZipFile, IO[bytes]] | None = None
        self._opened: dict[str, int] = {}
        self._openers: dict[str, FileOpener] = {}
        self._upload_key: FileKey | None = None
        self._is_sealed = False

    def begin_chunk(self, *, sealed: bool, upload_key: FileKey | None) -> None:
        """Until `end_chunk`: ``upload_key`` opens the upload that has the files, if it is sealed;
        ``sealed``: what is unzipped to the disk is encrypted there.
        """
        self._is_sealed, self._upload_key = sealed, upload_key

    def open(self, task: int, file: InputFile) -> OpenFile:
        """Open a file of a chunk. Raises `InputError` if it is missing, `StorageError` if its place fails."""
        match file.location:
            case None | ("s3", _, _) | ("file", _):
                return self._taken(task, file)
            case ("part", path, offset):
                return self._part(path, int(offset), file.size)
            case ("json" | "xml" as kind, path, offset, table):
                upload = self.upload(path, self._upload_key)
                return OpenFile(self._uploads.open(kind, path, upload, int(offset), file.size, int(table)))
            case ("zip", path, member):
                return self._member(path, member)
            case ("zip", path, member, index):
                return self._member(path, member, int(index))
        raise InputError(f"{file.name} is not in a place that can be read")

    def document(self, bucket: str, key: str) -> bytes:
        """The JSON of a metadata override. Raises as `open` does."""
        return self._far.document(bucket, key)

    def stream(self, path: str) -> IO[bytes]:
        """A file that lists others, for the caller to close. Raises as `open` does."""
        return os.fdopen(self._far.open_input(path), "rb")

    def upload(self, path: str, key: FileKey | None) -> FileSource:
        """The spooled file of an upload, for the caller to close; ``key`` opens it if it is sealed.

        Raises `StorageError`.
        """
        return self._range(path, key)

    def _range(self, path: str, key: FileKey | None, start: int = 0, length: int | None = None) -> FileSource:
        fd = self._descriptor(path)
        if key is not None:
            # One for all inputs of a file: what it has opened last the next may go on with.
            if path not in self._openers:
                self._openers[path] = FileOpener(key)
            return SealedSource.of(os.dup(fd), self._openers[path], start, length)
        return FileSource.adopt(os.dup(fd)) if length is None else FileSource.part(os.dup(fd), start, length)

    def ahead(self, files: bytes) -> Iterator[list[str]]:
        """The SOPInstanceUIDs of the parts of an upload, some hundred at a time, as their file meta groups
        say.

        ``files`` are those of a `ReadChunk`; there is nothing for files that are no parts, or for a single
        one.
        """
        places = [file.location for file in unpack_files(files, 0)]
        parts = iter(places if len(places) > 1 else [])
        while uids := [
            self._meta_uid(*part[1:]) for part in islice(parts, _HEADS) if part and part[0] == "part"
        ]:
            yield [uid for uid in uids if uid is not None]

    def _meta_uid(self, path: str, offset: str) -> str | None:
        try:
            with self._range(path, self._upload_key, int(offset), _HEAD) as source:
                return meta_uids(source.read(0, _HEAD))[1]
        except (OSError, SpooledFileDamagedError):
            return None

    def _descriptor(self, path: str) -> int:
        """Of a spooled file, until the chunk ends: many inputs are in one."""
        fd = self._opened.get(path)
        if fd is None:
            try:
                fd = self._opened[path] = self._far.open_input(path)
            except InputError as error:
                raise StorageError(str(error)) from None
        return fd

    def _taken(self, task: int, file: InputFile) -> OpenFile:
        source, is_other = self._far.take(task, file.number)
        try:
            if isinstance(source, FileSource) and source.size <= WHOLE:
                with source:
                    source = BytesSource(source.read(0, source.size))
        except OSError as error:
            raise _failed(error, file.name) from None
        return OpenFile(source, is_other=is_other)

    def _part(self, path: str, offset: int, length: int) -> OpenFile:
        try:
            source = self._range(path, self._upload_key, offset, length)
            if length > WHOLE:
                return OpenFile(source)
            with source:
                return OpenFile(BytesSource(source.read(0, length)))
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror}") from None

    def _member(self, path: str, member: str, index: int | None = None) -> OpenFile:
        try:
            archive = self._archive(path)
            entry = archive.getinfo(member) if index is None else archive.infolist()[index]
            if entry.filename != member:
                raise InputError(f"{path} has changed since its members were listed: import it again")
            with archive.open(entry) as stream:
                data = self._bounded(stream.read(WHOLE + 1), member)
                if len(data) <= WHOLE:
                    return OpenFile(BytesSource(data))
                spooled = NamedTemporaryFile(dir=self._spool, prefix="zip-", delete=False)  # noqa: SIM115
                place = Path(spooled.name)
                scratch = SealedScratch(spooled.fileno()) if self._is_sealed else None
                write, total = spooled.write if scratch is None else scratch.write, 0
                try:
                    with spooled:
                        while data:
                            total += len(data)
                            if total > self._inflate_limit:
                                raise InputError(
                                    f"{member} is larger than {self._inflate_limit} bytes once unzipped: "
                                    "raise LIGHTWELL_INFLATE_MAX_BYTES or import the file unzipped"
                                )
                            if fills_disk(spooled.fileno(), total):
                                raise InputError(
                                    f"{member} is larger than the disk has room for once unzipped, {total} "
                                    "bytes or more: make room, or import the file unzipped"
                                )
                            write(data)
                            data = stream.read(_STEP)
                        if scratch is not None:
                            return OpenFile(scratch.source(os.dup(spooled.fileno())), place)
                    return OpenFile(FileSource(place), place)
                except BaseException:
                    place.unlink(missing_ok=True)
                    raise
        except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeError) as error:
            raise InputError(f"{member} in {path} is damaged: {error}") from None
        except MemoryError:
            # bzip2 and LZMA yield all that some kilobytes hold at once.
            raise InputError(
                f"{member} in {path} takes more memory to unzip than a codec worker has: import it unzipped"
            ) from None
        except (LookupError, NotImplementedError, RuntimeError) as error:
            # An encrypted member is a RuntimeError, an unknown compression a NotImplementedError.
            raise InputError(f"{member} in {path} cannot be unzipped: {error}") from None
        except OSError as error:
            raise _failed(error, path) from None

    def _bounded(self, data: bytes, member: str) -> bytes:
        if len(data) > self._inflate_limit:
            raise InputError(f"{member} is larger than {self._inflate_limit} bytes once unzipped")
        return data

    def _archive(self, path: str) -> zipfile.ZipFile:
        if self._zip is None or self._zip[0] != path:
            self.close_archive()
            stream = self.stream(path)
            try:
                self._zip = (path, zipfile.ZipFile(stream), stream)
            except BaseException:
                stream.close()
                raise
        return self._zip[1]

    def end_chunk(self, task: int) -> None:
        """Nothing of this chunk is opened any more."""
        self.close()
        self._is_sealed, self._upload_key = False, None
        self._far.end(task)

    def close(self) -> None:
        """Close what is open: what stays so a later file could read."""
        self.close_archive()
        self._openers.clear()
        while self._opened:
            os.close(self._opened.popitem()[1])

    def close_archive(self) -> None:
        self._uploads.forget()
        if self._zip is not None:
            self._zip[1].close()
            self._zip[2].close()
            self._zip = None


def _failed(error: OSError, path: Path | str) -> LightwellError:
    """The fault of the file, unless its file system is unavailable or there is no room to unzip it."""
    if is_away(error):
        return storage_error(error, f"{path} cannot be read or unzipped")
    return InputError(f"{path} cannot be read: {error.strerror}")
