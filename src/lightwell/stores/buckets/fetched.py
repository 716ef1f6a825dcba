"""What reading an object of a bucket yields."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Fetched(NamedTuple):
    """The content of an object, and the tag (ETag) that changes with it: None of a local file."""

    content: bytes | Path
    tag: str | None = None
