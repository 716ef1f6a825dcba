"""Edits as columns hold them: zstd frames of JSON, NULL for none."""

from __future__ import annotations

import zstandard

from lightwell.domain.image_sets.edits import NO_EDITS, Edits, decode_edits, encode_edits
from lightwell.stores.db.compression import compress, decompress
from lightwell.stores.db.errors import damaged_database


def pack(edits: Edits) -> bytes | None:
    """For an ``edits`` column. Equal edits give equal bytes, so that rows can be compared in SQL."""
    # Without a checksum, as earlier releases wrote them: those are compared, too.
    return compress(encode_edits(edits), has_checksum=False) if edits else None


def unpack(data: bytes | None) -> Edits:
    """The inverse of `pack`. Raises `DamagedError` where the bytes are damaged."""
    if data is None:
        return NO_EDITS
    try:
        return decode_edits(decompress(data))
    except zstandard.ZstdError as error:
        raise damaged_database(f"Stored edits cannot be decompressed ({error})") from None
