"""Edits as columns hold them: zstd frames of JSON, sealed in an encrypted data store, NULL for none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import zstandard
from sqlalchemy import Connection

from lightwell.domain.image_sets.edits import NO_EDITS, Edits, decode_edits, encode_edits
from lightwell.stores.db.compression import compress, decompress
from lightwell.stores.db.errors import damaged_database
from lightwell.stores.keys import values

if TYPE_CHECKING:
    from lightwell.sealing.values import ValueCipher


def pack(edits: Edits, sealer: ValueCipher | None) -> bytes | None:
    """For an ``edits`` column. Equal edits give equal bytes, so that rows can be compared in SQL.

    ``sealer`` is `values.sealer` of the data store.
    """
    if not edits:
        return None
    # Without a checksum, as earlier releases wrote them: those are compared, too.
    packed = compress(encode_edits(edits), has_checksum=False)
    return packed if sealer is None else sealer.seal_alike(values.EDITS, packed)


def unpack(conn: Connection, image_set: int, data: bytes | None) -> Edits:
    """The inverse of `pack`, for a row of an image set.

    Raises `DamagedError` where the bytes are damaged or were sealed for another data store, `StorageError`
    without the key. Copies share edits, so that nothing binds them to one set.
    """
    if data is None:
        return NO_EDITS
    return unpack_plain(values.opened_about(conn, values.EDITS, data, image_set))


def unpack_plain(data: bytes | None) -> Edits:
    """`unpack` for what is not sealed."""
    if data is None:
        return NO_EDITS
    try:
        return decode_edits(decompress(data))
    except zstandard.ZstdError as error:
        raise damaged_database(f"Stored edits cannot be decompressed ({error})") from None
