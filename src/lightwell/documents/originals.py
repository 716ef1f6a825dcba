"""Original data sets in the packs of a storage."""

from __future__ import annotations

from functools import partial

from lightwell.imaging.dataset.original_container import Original
from lightwell.stores.objects.interface import PackObjects
from lightwell.stores.objects.pack_objects import pack_name


def open_original(objects: PackObjects, pack: int, offset: int, length: int) -> Original:
    """The original at a place in a pack; what a cache has damaged of it is read again from the storage.

    Raises `StorageError`, `DamagedError` where the storage has it damaged.
    """
    name = pack_name(pack)
    return Original(partial(objects.read, name), offset, length, partial(objects.read_again, name))
