"""The base of a level: the block of the first member or, once that is gone, of the oldest member left.

A member's block is the one that it was imported with, under the member's own edits. So what was edited or
removed does not come back when a level is passed on: a block with edits becomes a level value like any
other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection, select, text

from lightwell.domain.image_sets.edits import NO_EDITS, Edits, apply_edits
from lightwell.domain.image_sets.levels import level_of
from lightwell.domain.keys import ImageSetKey
from lightwell.errors import StorageError
from lightwell.stores.db import compression
from lightwell.stores.db.tables import record
from lightwell.stores.image_sets import edits as packed_edits
from lightwell.stores.image_sets import members, records
from lightwell.stores.image_sets.members import Level
from lightwell.stores.keys import values

_COLUMNS = ("patient_value", "study_value", "series_value")
# Usually the very first row decides.
_WITH_BASE = [
    text(
        f"""
SELECT 1 FROM member m JOIN record r ON r.key = m.record
WHERE m.image_set = :set AND m.valid_to IS NULL AND m.edits IS NULL AND r.{column} = :base LIMIT 1
"""
    )
    for column in _COLUMNS
]
_EDITED = [
    text(
        f"""
SELECT DISTINCT r.{column}, m.edits FROM member m JOIN record r ON r.key = m.record
WHERE m.image_set = :set AND m.valid_to IS NULL AND m.edits IS NOT NULL
"""
    )
    for column in _COLUMNS
]
_OLDEST = text(
    """
SELECT m.record, m.edits, m.valid_from FROM member m JOIN record r ON r.key = m.record
WHERE m.image_set = :set AND m.valid_to IS NULL
ORDER BY m.valid_from, coalesce(r.instance_number, 2147483647), m.record LIMIT 1
"""
)


def reassign_level_base(
    conn: Connection, key: ImageSetKey, number: int, *, first: Callable[[], int] | None = None
) -> bool:
    """After members were closed: give levels whose base no member has any more the oldest member's block.

    ``first`` returns the record that counts as the oldest if all members are of version ``number``. The
    edits of a level stay on top. Returns whether a level has changed. Raises `StorageError` for a set
    without members.
    """
    orphaned = [row for row in members.open_levels(conn, key) if not _is_base_in_use(conn, key, row)]
    if not orphaned:
        return False
    oldest = conn.execute(_OLDEST, {"set": key}).first()
    if oldest is None:
        raise StorageError("An image set has lost all its instances; run `lightwell data verify`.")
    heir, edits = oldest.record, packed_edits.unpack(conn, key, oldest.edits)
    if first is not None and oldest.valid_from == number:
        heir, edits = first(), NO_EDITS
    of = records.levels_of(conn, [heir])[heir]
    for row in orphaned:
        base = (of.patient, of.study, of.series)[row.level]
        own = _on_level(edits, row.level)
        members.replace_level(
            conn,
            key,
            number,
            replace(row, base=_edited(conn, key, heir, row.level, base, own) if own else base),
        )
    return True


def _is_base_in_use(conn: Connection, key: ImageSetKey, row: Level) -> bool:
    """Whether the base of a level is the block of an open member."""
    if conn.execute(_WITH_BASE[row.level], {"set": key, "base": row.base}).first() is not None:
        return True
    edited = [
        (value, _on_level(packed_edits.unpack(conn, key, edits), row.level))
        for value, edits in conn.execute(_EDITED[row.level], {"set": key})
    ]
    if any(value == row.base and not own for value, own in edited):
        return True
    changed = [(value, own) for value, own in edited if own]
    if not changed:
        return False
    bodies = records.level_bodies(conn, {row.base, *(value for value, _ in changed)}, key)
    base = _block(bodies, row.base)
    return any(apply_edits(_block(bodies, value), own) == base for value, own in changed)


def _on_level(edits: Edits, level: int) -> Edits:
    return {key: edit for key, edit in edits.items() if level_of(key) == level} if edits else NO_EDITS


def _block(bodies: dict[int, bytes], key: int) -> dict[str, object]:
    if key not in bodies:
        raise StorageError("The database has lost a level block; run `lightwell data verify`.")
    found: dict[str, object] = json.loads(bodies[key])
    return found


def _edited(conn: Connection, of_set: ImageSetKey, heir: int, level: int, value: int, edits: Edits) -> int:
    """The key of the level value that is ``value`` with edits."""
    block = apply_edits(_block(records.level_bodies(conn, [value], of_set), value), edits)
    body = json.dumps(
        {key: block[key] for key in sorted(block)}, ensure_ascii=False, separators=(",", ":")
    ).encode()
    digest = hashlib.sha256(bytes((level,)) + body).digest()
    datastore = conn.execute(select(record.c.datastore).where(record.c.key == heir)).scalar_one()
    # As random as any key, and the same if the transaction is run again. Of one that is sealed it must not be
    # made of what it says, which whoever reads the row could try.
    ciphers = values.ciphers(conn, datastore)
    kept = ciphers[0].hash(digest) if ciphers else digest
    key = int.from_bytes(hashlib.sha256(kept + datastore.to_bytes(8)).digest()[:8]) >> 1 or 1
    return records.level_values(conn, datastore, {digest: compression.compress(body)}, [key])[digest]
