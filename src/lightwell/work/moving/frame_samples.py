"""Some frames of a place that was filled, read by the rows of its database."""

from __future__ import annotations

from collections.abc import Container

from lightwell.errors import StorageError
from lightwell.sealing.providers.interface import KeyProviderAwayError, KeyProviderError
from lightwell.stores.db.database import Database
from lightwell.stores.moving import frames
from lightwell.stores.objects.checked_reads import matches
from lightwell.stores.objects.interface import Objects

_FRAMES = 200


def look_at_frames(db: Database, objects: Objects, lost: Container[str] = ()) -> tuple[int, list[str]]:
    """Read frames; how many, and what is wrong. Those in the objects ``lost`` are left out.

    Raises `KeyProviderError` and `KeyProviderAwayError` where a key is not to be had: nothing is wrong then.
    """
    seen, damaged = 0, []
    with db.read() as conn:
        places = list(frames.some(conn, _FRAMES))
    for name, offset, length, checksum in places:
        if name in lost:
            continue
        try:
            is_right = matches(objects.read(name, offset, length), checksum)
        except (KeyProviderError, KeyProviderAwayError):
            raise
        except StorageError as error:
            damaged.append(str(error))
            continue
        seen += 1
        if not is_right:
            damaged.append(f"{name}: the checksum of a frame at {offset} differs")
    return seen, damaged
