"""The files that a DICOMDIR may name (PS3.10 §8.2): files below its folder, by path components."""

from __future__ import annotations

from collections.abc import Sequence

MOST_FILES = 1_000_000
"""A DICOMDIR or a zip file that lists more is refused."""
MOST_BYTES = 64 << 20
"""Most bytes of all paths that a DICOMDIR lists."""

# A File ID has at most eight components of eight characters; real media exceed that.
_PARTS, _BYTES = 64, 255


def is_file_id(parts: Sequence[str]) -> bool:
    """Whether these are names of nested folders and a file that stay below the folder of the DICOMDIR."""
    return 0 < len(parts) <= _PARTS and all(
        part not in ("", ".", "..")
        and "/" not in part
        and "\0" not in part
        and len(part.encode("utf-8", "surrogatepass")) <= _BYTES
        for part in parts
    )
