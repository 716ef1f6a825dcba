"""`data verify --repair`: puts back damaged packs from a backup or another copy of the storage.

Nothing is touched that cannot be proved: a pack is replaced only where this storage's is damaged or missing
and a source has all of its bytes, by the size and the CRC-32 that the database has; it is replaced as a
whole, and read back. What is wrong with rows of the database: `row_repair`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

from isal import isal_zlib

from lightwell.domain.integrity import FaultKind, PackToVerify, Problem
from lightwell.errors import StorageError
from lightwell.stores import Stores
from lightwell.stores.collector import integrity
from lightwell.stores.integrity import faults
from lightwell.stores.objects import pack_objects
from lightwell.stores.objects.interface import Objects
from lightwell.stores.objects.pack_objects import pack_name
from lightwell.stores.objects.sealed import bare
from lightwell.work.moving.pack_copy import pack_fault

_BLOCK = 4 << 20


@dataclass(slots=True)
class Repairs:
    """The names of packs that are whole again, the ids of image sets whose rows were made anew, and what is
    not repaired, with the reason."""

    repaired: list[str] = field(default_factory=list)
    rebuilt: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def repair(
    stores: Stores,
    problems: Sequence[Problem],
    sources: Sequence[Objects],
    tell: Callable[[str], None] = lambda name: None,
) -> Repairs:
    """Put back the packs that a run has found to be damaged. Raises `StorageError` if the storage fails.

    ``tell`` is called with the name of each as soon as it is back.
    """
    done = Repairs()
    names = {p.pack for p in problems if p.pack is not None and p.kind is FaultKind.DAMAGED}
    for name in sorted(names):
        key = pack_objects.key_of(name)
        with stores.db.read() as conn:
            pack = None if key is None else integrity.live_pack(conn, key)
        if pack is None:
            continue  # collected meanwhile
        own = bare(stores.objects).past_cache()
        if pack_fault(own, pack) is None:
            continue  # its bytes are whole, so it is the rows that are wrong
        reason = _put_back(stores, pack, [source.past_cache() for source in sources])
        if reason is None:
            reason = pack_fault(own, pack)
        if reason is not None:
            done.failed[name] = reason
            continue
        done.repaired.append(name)
        tell(name)
        stores.db.write(lambda conn, key=pack.key: faults.forget_pack(conn, key))  # type: ignore[misc]
    return done


def _put_back(stores: Stores, pack: PackToVerify, sources: Sequence[Objects]) -> str | None:
    """Replace a pack by that of the first source which has it whole; else what is wrong in each."""
    reasons = []
    for source in sources:
        # Without a name, so that a kill leaves nothing.
        with tempfile.TemporaryFile(dir=stores.spool) as file:
            try:
                reason = _fetch(source, pack, file)
            except StorageError as error:
                reason = str(error)
            if reason is None:
                file.seek(0)
                stores.objects.put_stream(pack_name(pack.key), file, pack.size)
                return None
        reasons.append(reason)
    return "; ".join(reasons) or "there is no source to repair from: give one by --from"


def _fetch(source: Objects, pack: PackToVerify, file: IO[bytes]) -> str | None:
    """Write a source's pack to a file; what is wrong with it, or None where it is the one that was stored."""
    name, place, found = pack_name(pack.key), 0, 0
    size = source.size(name)
    if size is None:
        return f"{source.address} does not have it"
    if size != pack.size:
        return f"it has {size} bytes in {source.address}, and should have {pack.size}"
    while place < pack.size:
        data = source.read(name, place, min(_BLOCK, pack.size - place))
        found = isal_zlib.crc32(data, found)
        file.write(data)
        place += len(data)
    return None if found == pack.checksum else f"its checksum differs in {source.address}, too"
