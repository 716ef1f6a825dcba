"""How much of a disk is left alone by what may be dropped or refused: the packs and the database need it."""

from __future__ import annotations

import os
from pathlib import Path

_SHARE, _MOST = 20, 1 << 30


def is_scarce(place: Path | int, more: int = 0) -> bool:
    """Whether, with ``more`` bytes written, less is free than a twentieth of the disk, or a gigabyte.

    ``place`` is a path on it, or an open descriptor. Raises `OSError`.
    """
    disk = os.fstatvfs(place) if isinstance(place, int) else os.statvfs(place)
    reserve = min(disk.f_frsize * disk.f_blocks // _SHARE, _MOST)
    return disk.f_frsize * disk.f_bavail - more < reserve
