"""What a medium with a DICOMDIR may name (PS3.10 §8.2): files below its folder, by the parts of their
paths.
"""

from __future__ import annotations

from collections.abc import Sequence

MOST_FILES = 1_000_000
"""A DICOMDIR or a zip file that lists more is refused."""
MOST_BYTES = 64 << 20
"""Of the paths that a DICOMDIR lists."""

# A File ID has at most eight components of eight characters; media in the field go beyond.
_PARTS, _BYTES = 64, 255


def is_file_id(parts: Sequence[str]) -> bool:
    """Whether these are names of folders and a file, one in the other, that lead nowhere else."""
    return 0 < len(parts) <= _PARTS and all(
        part not in ("", ".", "..")
        and "/" not in part
        and "\0" not in part
        and len(part.encode("utf-8", "surrogatepass")) <= _BYTES
        for part in parts
    )
