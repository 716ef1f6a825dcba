"""Where in the file of a pack things lie, for who damages them there."""

from __future__ import annotations

from lightwell.stores import Stores
from lightwell.stores.objects.pack_objects import key_of


def place_of(stores: Stores, name: str, offset: int) -> int:
    """Where in the file of the pack with this name to damage the byte at ``offset`` of what was appended.

    There, or at the beginning of its segment where the pack is sealed.
    """
    key = key_of(name)
    assert key is not None
    cipher = stores.keys.find(key)
    return offset if cipher is None else cipher.range_of(offset, 1)[0]
