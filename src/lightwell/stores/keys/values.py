"""What rows hold of patients, sealed with the key of their data store; what is not sealed stays as it is.

The ring of keys comes with the connection (`Database.carry`), so that whoever reads a row can open it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from lightwell.errors import StorageError
from lightwell.sealing.providers.interface import KeyProviderError
from lightwell.stores.db.database import CARRIED
from lightwell.stores.db.errors import damaged_database
from lightwell.stores.db.tables import image_set

if TYPE_CHECKING:
    from lightwell.sealing.values import ValueCipher
    from lightwell.stores.keys.ring import KeyRing

FRAGMENT = b"record.fragment_z"
DICOM = b"record.dicom_z"
OVERRIDE = b"record.override_z"
LEVEL = b"level_value.body_z"
DICTIONARY = b"dictionary.bytes"
EDITS = b"edits"
"""Those of levels and members, which copies of image sets share: see `stores.image_sets.edits`."""


def about(place: bytes, row: int) -> bytes:
    """What a sealed value is bound to: a column, and the key of a row."""
    return b"%s %x" % (place, row)


def sealer(conn: Connection, datastore_key: int) -> ValueCipher | None:
    """What seals the values of a data store now; None if they are not sealed. Raises `StorageError`."""
    ring = ring_of(conn)
    return None if ring is None else ring.value_sealer(conn, datastore_key)


def sealer_of_set(conn: Connection, image_set_key: int) -> ValueCipher | None:
    """`sealer` for the data store of an image set. Raises `StorageError` if the set is no more, too."""
    if ring_of(conn) is None:
        return None
    key = conn.execute(select(image_set.c.datastore).where(image_set.c.key == image_set_key)).scalar()
    if key is None:
        raise StorageError("An image set has been removed meanwhile.")
    return sealer(conn, key)


def ciphers(conn: Connection, datastore_key: int) -> Sequence[ValueCipher]:
    """Those of all keys that a data store has, the one that seals now first."""
    ring = ring_of(conn)
    return () if ring is None else ring.value_ciphers(conn, datastore_key)


def opened(conn: Connection, place: bytes, row: int, value: bytes, image_set_key: int | None = None) -> bytes:
    """A value of a row as it was before it was sealed, or the value itself.

    ``image_set_key``: the set that is read, in whose data store it must have been sealed, whatever its row
    says. Raises `DamagedError` for one that was changed, or that was sealed for another row or data store,
    `StorageError` where its key is not to be had.
    """
    if value[:3] != b"LWV":
        return value
    return opened_about(conn, about(place, row), value, image_set_key)


def of_record(
    conn: Connection, place: bytes, record: int, value: bytes | None, image_set_key: int | None
) -> bytes | None:
    """`opened` for a column that may be NULL."""
    return None if value is None else opened(conn, place, record, value, image_set_key)


def cipher_of(conn: Connection, value: bytes, image_set_key: int | None = None) -> ValueCipher | None:
    """What opens a value; None if it is not sealed. Raises `StorageError`, and `DamagedError` for one in a
    row of an image set that the key of another data store has sealed.
    """
    from lightwell.sealing.values import is_sealed, key_of

    if not is_sealed(value):
        return None
    ring = ring_of(conn)
    if ring is None:
        raise KeyProviderError("Attributes in the database are encrypted, but this process has no key.")
    return ring.value_cipher(key_of(value), conn, image_set_key)


def opened_about(conn: Connection, what: bytes, value: bytes, image_set_key: int | None = None) -> bytes:
    """`opened` for what is bound to something else than its row: with ``image_set_key``, to the data store of
    that set.
    """
    cipher = cipher_of(conn, value, image_set_key)
    if cipher is None:
        return value
    from lightwell.sealing.errors import SealError

    try:
        return cipher.open(what, value)
    except SealError as error:
        raise damaged_database(str(error).removesuffix(".")) from None


def ring_of(conn: Connection) -> KeyRing | None:
    """The ring that the connection carries."""
    ring: KeyRing | None = conn.get_execution_options().get(CARRIED)
    return ring
