"""An invariant, called by `invariants.check`: nothing of an encrypted data store lies there unsealed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from lightwell.sealing.values import is_sealed
from lightwell.stores import Stores
from lightwell.stores.db import tables

_record, _member, _level = tables.record.c, tables.member.c, tables.level.c
_SET = tables.image_set.c
_VALUES = (
    *(select(_record.datastore, _record[name]) for name in ("fragment_z", "dicom_z", "override_z")),
    *(
        select(_record.datastore, tables.dictionary.c.bytes).join(tables.dictionary, _record[name] == key)
        for name, key in (
            ("dictionary", tables.dictionary.c.key),
            ("dicom_dictionary", tables.dictionary.c.key),
        )
    ),
    select(tables.level_value.c.datastore, tables.level_value.c.body_z),
    *(
        select(_SET.datastore, table.c.edits).join(table, _SET.key == table.c.image_set)
        for table in (tables.member, tables.level)
    ),
)
"""``(data store, value)`` of all columns that are sealed: the table of docs/howto/encryption.md."""


def check(conn: Connection, stores: Stores) -> None:
    """Where all packs of a data store are sealed, it was encrypted from its beginning, and so are its values.

    Where `stores` are opened with ``encryption = always``, all packs have to be.
    """
    packs: dict[Any, bool] = {}
    for datastore, key in conn.execute(select(tables.pack.c.datastore, tables.pack.c.data_key)):
        packs[datastore] = packs.get(datastore, True) and key is not None
    assert all(packs.values()) or not stores.keys._always, "a pack is not sealed"
    for statement in _VALUES:
        for datastore, value in conn.execute(statement):
            wanted = packs.get(datastore, False)
            assert value is None or is_sealed(bytes(value)) or not wanted, f"not sealed: {statement}"
