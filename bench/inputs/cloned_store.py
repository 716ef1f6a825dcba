"""A database of PostgreSQL with many instances, made of the rows of a few that were really imported.

Every row of the tables that grow with instances and series is written again with other keys, so widths,
compressed documents and the order of inserts in each index (keys are random) are those of imports. A clone is
a whole copy of what was imported, as if it were the studies of other patients. Left out are rows that are
removed again (outcomes, chunks, units, events) and the grams of the search index, which grow with studies and
which `filled_store` fills.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Column, LargeBinary

from lightwell.stores.db import tables

if TYPE_CHECKING:
    import psycopg

BY_INSTANCE = ("record", "pixels", "frame_table", "instance", "member", "primary_instance")
BY_SERIES = ("study", "image_set", "version", "level", "level_value", "pack", "primary_series")
_SAME = {"datastore", "listed_in", "dictionary", "dicom_dictionary"}
_KEYS = {
    *("key", "study", "image_set", "lead", "base", "instance", "pixels", "pack", "record", "first_record"),
    *("patient_value", "study_value", "series_value"),
}
_DISTINCT = {
    *("study_instance_uid", "series_instance_uid", "sop_instance_uid", "patient_id", "accession_number"),
}


def set_templates_aside(db: psycopg.Connection) -> None:
    """Copies what was imported so far to tables of its own, which `add_clones` reads."""
    for name in (*BY_INSTANCE, *BY_SERIES):
        db.execute(f"CREATE UNLOGGED TABLE template_{name} AS TABLE {name}")


def add_clones(db: psycopg.Connection, first: int, count: int) -> None:
    """Clones ``first`` to ``first + count - 1`` of everything, in one transaction."""
    for name in (*BY_INSTANCE, *BY_SERIES):
        columns = list(tables.metadata.tables[name].columns)
        names = ", ".join(f'"{column.name}"' for column in columns)
        values = ", ".join(map(_clone, columns))
        db.execute(
            f"INSERT INTO {name} ({names}) SELECT {values}"
            f" FROM generate_series({first}, {first + count - 1}) AS c(n), template_{name} AS t"
        )


def _clone(column: Column[object]) -> str:
    """The SQL of a column's value in clone ``c.n`` of row ``t``."""
    name = f't."{column.name}"'
    if column.name in _SAME:
        return name
    if column.name in _KEYS:
        # Equal keys of different tables stay equal, and nothing is in any order.
        return f"hashint8extended({name}, c.n) & 9223372036854775807"
    if column.name in _DISTINCT:
        return f"{name} || '.' || c.n"
    if column.name == "id":
        return f"md5({name} || c.n)"
    if column.name == "hash" and isinstance(column.type, LargeBinary):
        return f"sha256({name} || int4send(c.n))"
    return name
