"""The keys of a codec worker: of each sealed pack that it was told of, and of no other."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.stores.objects.pack_objects import PackGrant

if TYPE_CHECKING:
    from lightwell.sealing.segments import PackCipher

_MOST = 1 << 16
_MOST_CIPHERS = 64

Refused = tuple[int, str, bool]
"""The key of a pack whose data key is not to be had, the reason, and whether that may pass."""


class GrantedKeys:
    """`stores.objects.sealed.Ciphers` of what was granted last. Safe to use from threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._grants: OrderedDict[int, PackGrant | Refused | None] = OrderedDict()
        self._ciphers: OrderedDict[int, PackCipher] = OrderedDict()

    def add(self, granted: Iterable[PackGrant], refused: Iterable[Refused], plain: Iterable[int]) -> None:
        """Of packs that may be sealed: what opens them, those that nothing opens, and those that are not."""
        with self._lock:
            given: list[tuple[int, PackGrant | Refused | None]] = [(one.pack, one) for one in granted]
            given += [(refusal[0], refusal) for refusal in refused]
            given += [(pack, None) for pack in plain]
            for pack, what in given:
                self._grants.pop(pack, None)  # it counts as the newest
                self._grants[pack] = what
            while len(self._grants) > _MOST:
                self._grants.popitem(last=False)

    def known(self, pack: int) -> PackCipher | None:
        """`find`, which asks nobody."""
        return self.find(pack)

    def find(self, pack: int) -> PackCipher | None:
        """Raises `StorageError` for a pack whose key was refused, or that was not named."""
        from lightwell.sealing.segments import PackCipher

        with self._lock:
            found = self._ciphers.get(pack)
            if found is not None:
                return found
            granted = self._grants.get(pack, (pack, f"the pack {pack:016x} was not granted", False))
        if granted is None:
            return None
        if not isinstance(granted, PackGrant):
            _, reason, may_pass = granted
            raise (StorageUnavailableError if may_pass else StorageError)(reason)
        cipher = PackCipher(granted.grant, granted.seal)
        with self._lock:
            self._ciphers[pack] = cipher
            while len(self._ciphers) > _MOST_CIPHERS:
                self._ciphers.popitem(last=False)
        return cipher

    def forget(self, pack: int) -> None:
        """Nothing else can be had."""
