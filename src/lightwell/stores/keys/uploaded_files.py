"""Files that the console takes for an import job, sealed in their bucket until the job has read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lightwell.errors import InputError
from lightwell.sealing.errors import SealError
from lightwell.stores.data_folder.sealed_files import (
    HEAD,
    UPLOADED,
    FileGrant,
    FileKey,
    SpooledFileDamagedError,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.stores.keys.ring import KeyRing


def grant(ring: KeyRing, conn: Connection, datastore_key: int, name: str) -> FileGrant | None:
    """What seals an object of this name; None where the data store has no key. Raises `StorageError`."""
    found = ring.newest_key(conn, datastore_key)
    if found is None:
        return None
    from lightwell.sealing.segments import grant_of_file

    row, plain = found
    return FileGrant(grant_of_file(plain, name), UPLOADED + row.to_bytes(8, "big"))


def key_of(
    ring: KeyRing, datastore: str, name: str, read: Callable[[int, int], bytes], size: int
) -> FileKey | None:
    """What opens an object of this name; None where it is not sealed. ``read(offset, length)`` reads it.

    ``datastore``: the id of the one that it is to be imported into. Its first bytes say whose key seals it,
    and whoever can read it can copy it elsewhere: so `InputError` is raised where that is another one's.
    Raises `StorageError` where its key is not to be had, `SpooledFileDamagedError` where it is cut off.
    """
    head = read(0, HEAD)
    if not head.startswith(UPLOADED) or len(head) < HEAD:
        return None
    from lightwell.sealing.segments import grant_of_file, seal_of

    try:
        plain = ring.named_key(int.from_bytes(head[len(UPLOADED) :], "big"), datastore)
    except LookupError:
        raise InputError(
            f"{name} cannot be read: it was uploaded for another data store. Import it into that one, or "
            "upload it for this one"
        ) from None
    if plain is None:
        return None
    try:
        seal = seal_of(lambda offset, length: read(HEAD + offset, length), size - HEAD)
    except SealError:
        raise SpooledFileDamagedError(
            f"{name} is not as it was uploaded: it was cut off or changed. Upload it again"
        ) from None
    return FileKey(grant_of_file(plain, name), seal, HEAD)
