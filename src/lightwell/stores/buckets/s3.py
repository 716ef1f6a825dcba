"""A bucket of S3, by obstore.

Keys come in the order in which the server lists them: by their bytes on AWS, near to it on others. obstore
takes no key with an empty part, a part ``.`` or ``..``, or a control character: they are refused, with a
reason.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightwell.errors import InputError, LightwellError, StorageError, StorageUnavailableError
from lightwell.stores.buckets.fetched import Fetched
from lightwell.stores.data_folder.sealed_files import UPLOADED, FileKey, FileSealer
from lightwell.stores.db.bulk import batches
from lightwell.stores.objects import s3_client
from lightwell.stores.objects.local import storage_error

if TYPE_CHECKING:
    from obstore.store import S3Store

# How much of a part is in memory at once.
_PIECE = 1 << 20
# An object that is replaced again and again while it is read is tried so often.
_REPLACED = 3


# The size of an object that must not be looked at.
_UNKNOWN = -1


def _is_replaced(error: Exception) -> bool:
    return type(error).__name__ == "PreconditionError"


def _bare(tag: str | None) -> str | None:
    """An ETag as listings and answers have it alike."""
    return tag.removeprefix("W/").strip('"') if tag else None


class S3Bucket:
    """``no_folder`` is what to add when there is no such bucket on S3 either."""

    def __init__(self, name: str, *, endpoint_url: str | None, region: str, no_folder: str) -> None:
        self._name = name
        self._endpoint_url = endpoint_url
        self._region = region
        self._no_folder = no_folder
        self._opened: S3Store | None = None

    def list(self, prefix: str, after: str = "") -> Iterator[tuple[str, int, str | None]]:
        import obstore

        # obstore's prefix is whole parts of a path, so the rest of it is compared here.
        folder = prefix.rpartition("/")[0]
        try:
            chunks: Iterator[Any] = iter(obstore.list(self._store, folder or None, offset=after or None))
            for chunk in chunks:
                for found in chunk:
                    key, size = found["path"], found["size"]
                    if key.startswith(prefix) and (size or not self._is_marker(key)):
                        yield key, size, _bare(found["e_tag"])
        except LightwellError:
            raise
        except Exception as error:
            raise self._explain(error, prefix) from error

    def _is_marker(self, key: str) -> bool:
        """Whether ``key`` really ends in a slash, which obstore takes off."""
        import obstore

        try:
            obstore.head(self._store, key)
        except FileNotFoundError:
            return True
        return False

    def fetch(
        self,
        key: str,
        *,
        memory_limit: int,
        spool_dir: Path,
        listed: int | None = None,
        sealed: bool = False,
    ) -> Fetched:
        self._check_key(key)
        try:
            for tries_left in reversed(range(_REPLACED)):
                try:
                    return self._fetch(key, memory_limit, spool_dir, listed, sealed)
                except Exception as error:
                    # Replaced since its first bytes came: again, from the beginning of the new one.
                    if not tries_left or not _is_replaced(error):
                        raise
            raise AssertionError("unreachable")
        except LightwellError:
            raise
        except Exception as error:
            explained = self._explain(error, key)
            if s3_client.concerns_credentials(error):
                # The credentials worked for the listing, so no file is to blame.
                raise StorageUnavailableError(f"{str(explained).rstrip('.')}.") from error
            raise explained from error

    def _fetch(
        self, key: str, memory_limit: int, spool_dir: Path, listed: int | None, sealed: bool
    ) -> Fetched:
        """obstore goes on after a broken connection by itself, with the tag of the object that it began."""
        import obstore

        found = obstore.get(self._store, key)
        size, tag = int(found.meta["size"]), found.meta["e_tag"]
        if listed is not None and size > listed:
            raise InputError(
                f"s3://{self._name}/{key} has grown from {listed} to {size} bytes since it was listed; "
                "import it again"
            )
        if size > memory_limit:
            path, opens = self._spool(key, size, tag, spool_dir, sealed)
            return Fetched(path, _bare(tag), opens)
        data = bytes(found.bytes())
        if len(data) != size:
            raise StorageError(f"s3://{self._name}/{key} came with {len(data)} of its {size} bytes.")
        return Fetched(data, _bare(tag))

    def _spool(
        self, key: str, size: int, tag: str | None, spool_dir: Path, sealed: bool
    ) -> tuple[Path, FileKey | None]:
        """To a file, which the caller removes, and what opens it."""
        try:
            with tempfile.NamedTemporaryFile(dir=spool_dir, prefix="bucket-", delete=False) as stream:
                path = Path(stream.name)
                sealer, got = None, 0
                try:
                    for piece in self._pieces(key, size, tag):
                        # What the console has taken is sealed already.
                        if sealed and not got and memoryview(piece)[: len(UPLOADED)] != UPLOADED:
                            sealer = FileSealer(stream.write)
                        (stream if sealer is None else sealer).write(piece)
                        got += len(piece)
                    if got != size:
                        raise StorageError(f"s3://{self._name}/{key} ended at {got}.")
                    opens = None if sealer is None else sealer.finish()
                except BaseException:
                    with contextlib.suppress(OSError):
                        path.unlink()
                    raise
        except FileNotFoundError:
            raise
        except OSError as error:
            raise storage_error(error, f"{spool_dir} cannot be written to") from error
        return path, opens

    def _pieces(self, key: str, size: int, tag: str | None) -> Iterator[Any]:
        """One and the same object in parts, each tried again by itself; without a tag, all in one answer."""
        import obstore

        if tag is None:
            yield from obstore.get(self._store, key).stream(min_chunk_size=_PIECE)
            return
        for start in range(0, size, s3_client.PART):
            end = min(start + s3_client.PART, size)
            part = obstore.get(self._store, key, options={"range": (start, end), "if_match": tag})
            got = 0
            for piece in part.stream(min_chunk_size=_PIECE):
                got += len(piece)
                yield piece
            if got != end - start:
                raise StorageError(f"s3://{self._name}/{key} ended at {start + got}.")

    def put(self, key: str, data: bytes) -> None:
        self._put(key, data, len(data))

    def put_file(self, key: str, path: Path) -> None:
        self._put(key, path, path.stat().st_size)

    def take_file(self, key: str, path: Path) -> None:
        self.put_file(key, path)

    def remove_unfinished(self, folder: str) -> None:
        """There is nothing: an object is there when all of it has been sent."""

    def remove(self, keys: Sequence[str]) -> None:
        import obstore

        for key in keys:
            self._check_key(key)
        try:
            for some in batches(keys):
                with contextlib.suppress(FileNotFoundError):
                    obstore.delete(self._store, some)
        except LightwellError:
            raise
        except Exception as error:
            raise self._explain(error, keys[0]) from error

    def _put(self, key: str, source: bytes | Path, size: int) -> None:
        import obstore

        try:
            self._check_key(key)
            obstore.put(
                self._store,
                key,
                source,
                use_multipart=size > s3_client.PART,
                chunk_size=s3_client.PART,
                max_concurrency=s3_client.PARTS_AT_ONCE,
            )
            found = self._size(key)
            if found not in (size, _UNKNOWN):
                raise StorageUnavailableError(
                    f"s3://{self._name}/{key}: S3 has answered that it stored {size} bytes, but has "
                    f"{'nothing' if found is None else f'{found} bytes'} there; check what stands before it."
                )
        except LightwellError:
            raise
        except Exception as error:
            raise self._explain(error, key) from error

    def _size(self, key: str) -> int | None:
        import obstore

        try:
            return int(obstore.head(self._store, key)["size"])
        except FileNotFoundError:
            return None
        except Exception as error:
            if s3_client.is_refusal(error):
                return _UNKNOWN  # it may write reports there, and not read them
            raise

    def _check_key(self, key: str) -> None:
        # obstore would take these off, and reach another object.
        if key.startswith("/") or key.endswith("/") or not key:
            raise InputError(f"s3://{self._name}/{key}: a key that begins or ends with / cannot be used here")

    @property
    def _store(self) -> S3Store:
        if self._opened is None:
            self._opened = s3_client.open_bucket(
                self._name, endpoint_url=self._endpoint_url, region=self._region
            )
        return self._opened

    def _explain(self, error: Exception, key: str) -> LightwellError:
        if isinstance(error, RuntimeError):
            raise error
        if _is_replaced(error):
            return InputError(f"s3://{self._name}/{key} was changed while it was read; import it again")
        explained = s3_client.explain(error, f"s3://{self._name}/{key}")
        if isinstance(explained, s3_client.MissingBucketError | s3_client.MissingCredentialsError):
            return InputError(f"{str(explained).rstrip('.')}; and {self._no_folder}")
        return explained
