"""Files of the data folder that are created once and never replaced, such as keys and ids."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from lightwell.stores.objects.local import sync_folder


def create_once(path: Path, content: bytes) -> None:
    """Create the file with mode 0600, complete or not at all; an existing file is left alone.

    Of several processes that try at once one succeeds, and afterwards all read the same. Raises `OSError`.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileExistsError):
            os.link(name, path)  # a rename would replace another process's file
    finally:
        Path(name).unlink(missing_ok=True)
    sync_folder(path.parent)
