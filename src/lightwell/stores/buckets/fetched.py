"""What reading an object of a bucket yields."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from lightwell.stores.data_folder.sealed_files import FileKey


class Fetched(NamedTuple):
    """The content of an object, and the tag (ETag) that changes with it: None of a local file.

    ``key`` opens a file of the spool that is sealed.
    """

    content: bytes | Path
    tag: str | None = None
    key: FileKey | None = None
