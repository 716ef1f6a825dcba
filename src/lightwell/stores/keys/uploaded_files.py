"""Files that the console takes for an import job, sealed in their bucket until the job has read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from lightwell.domain.imports.uploads import UPLOADS
from lightwell.errors import InputError
from lightwell.sealing.errors import SealError
from lightwell.stores.data_folder.sealed_files import (
    HEAD,
    UPLOADED,
    FileGrant,
    FileKey,
    SpooledFileDamagedError,
)
from lightwell.stores.db.tables import uploaded_file

if TYPE_CHECKING:
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
    Raises `StorageError` where its key is not to be had, `SpooledFileDamagedError` where it was sealed and is
    cut off or changed.
    """
    if not name.startswith(UPLOADS):
        return None
    head = read(0, HEAD)
    if not head.startswith(UPLOADED) or len(head) < HEAD:
        check_plain(ring, name, size)
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
        raise _damaged(name)
    try:
        seal = seal_of(lambda offset, length: read(HEAD + offset, length), size - HEAD)
    except SealError:
        raise _damaged(name) from None
    return FileKey(grant_of_file(plain, name), seal, HEAD)


def check_plain(ring: KeyRing, name: str, size: int) -> None:
    """For an object of so many bytes that does not begin as a sealed one does. Raises
    `SpooledFileDamagedError` if it is not one that the console has kept as it came.

    What is sealed is longer than what came. One wrong bit at its beginning would make it a file that is not
    DICOM, which is removed once its job has ended.
    """
    parts = name.split("/", 3)
    if not name.startswith(UPLOADS) or len(parts) < 4:
        return
    taken = ring.read(lambda conn: _taken_size(conn, *parts[2:]))
    if taken is not None and taken != size:
        raise _damaged(name)


def _taken_size(conn: Connection, upload: str, key: str) -> int | None:
    """The bytes of a file as the console has received it; None for one that it has not."""
    of_file = (uploaded_file.c.upload == upload, uploaded_file.c.key == key)
    size: int | None = conn.execute(select(uploaded_file.c.size).where(*of_file)).scalar()
    return size


def _damaged(name: str) -> SpooledFileDamagedError:
    return SpooledFileDamagedError(
        f"{name} is not as it was uploaded: it was cut off or changed. Upload it again"
    )
