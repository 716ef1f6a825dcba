"""An object that is written to a file first, for storage that cannot append."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from lightwell.stores.objects.local import storage_error


class SpooledWriter:
    """Bytes go to a file of ``spool_dir`` without a name, which a crash takes along, and to ``upload`` at the
    end: an `ObjectWriter`."""

    def __init__(self, spool_dir: Path, upload: Callable[[IO[bytes], int], None]) -> None:
        self._upload = upload
        self._spool_dir = spool_dir
        self._size = 0
        try:
            # Closed by commit or abort.
            self._stream = tempfile.TemporaryFile(dir=spool_dir, buffering=1 << 18)  # noqa: SIM115
        except OSError as error:
            raise storage_error(error, f"{spool_dir} cannot be written to") from error

    def write(self, data: bytes | memoryview) -> None:
        try:
            self._stream.write(data)
        except OSError as error:
            raise storage_error(error, f"{self._spool_dir} cannot be written to") from error
        self._size += len(data)

    def commit(self) -> None:
        try:
            self._stream.flush()
            self._stream.seek(0)
        except OSError as error:
            raise storage_error(error, f"{self._spool_dir} cannot be written to") from error
        self._upload(self._stream, self._size)
        self._stream.close()

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.close()
