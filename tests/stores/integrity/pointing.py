"""Image sets of three patients in two data stores, and each column by which one can point at another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from lightwell.stores import Stores
from lightwell.stores.db import tables
from lightwell.stores.db.bulk import insert_many
from tests.support import image_set_builders
from tests.support.image_set_builders import NOW, BuiltInstance, BuiltSet

Pointing = Callable[[BuiltSet, Any], Any]
"""A statement that makes a row of a set point at what a row of ``record`` is about."""


@dataclass(frozen=True, slots=True)
class Three:
    """Image sets of three patients; ``other`` is in the data store of ``ours``, ``foreign`` is not."""

    ours: BuiltSet
    other: BuiltSet
    foreign: BuiltSet


def three_sets(stores: Stores) -> Three:
    """Each of two images."""
    ours = _built(stores, "1.1", {"PatientID": "P1", "PatientName": "DOE^JANE"})
    store = ours.datastore_key, ours.datastore_id
    other = _built(stores, "1.2", {"PatientID": "P2", "PatientName": "POE^PAUL"}, store=store)
    return Three(ours, other, _built(stores, "1.3", {"PatientID": "P3", "PatientName": "ROE^RICHARD"}))


def _built(stores: Stores, uid: str, patient: dict[str, Any], **more: Any) -> BuiltSet:
    made = image_set_builders.image_set(
        stores,
        [BuiltInstance(f"{uid}.{n}", n, frames=[f"frame {uid}.{n}".encode()]) for n in (1, 2)],
        patient=patient,
        **more,
    )

    def add_pack(conn: Connection) -> None:
        of = select(tables.pixels.c.pack).where(tables.pixels.c.key == made.instances[0].pixels_key)
        row = {"key": conn.execute(of).scalar_one(), "datastore": made.datastore_key}
        insert_many(conn, tables.pack, [row | {"state": "LIVE", "created_at": NOW}])

    stores.db.write(add_pack)
    return made


def record_of(stores: Stores, of: BuiltSet) -> Any:
    """The row of its first record, whose key is that of its instance and of its pixels, too."""
    with stores.db.read() as conn:
        key = of.instances[0].pixels_key
        return conn.execute(select(tables.record).where(tables.record.c.key == key)).one()


def _member(of: BuiltSet) -> Any:
    member = tables.member.c
    return update(tables.member).where(
        member.image_set == of.key, member.instance == of.instances[0].pixels_key
    )


def _row(table: Any, of: BuiltSet) -> Any:
    return update(table).where(table.c.key == of.instances[0].pixels_key)


def _level(of: BuiltSet, number: int) -> Any:
    level = tables.level.c
    return update(tables.level).where(level.image_set == of.key, level.level == number)


def _image_set(of: BuiltSet) -> Any:
    return update(tables.image_set).where(tables.image_set.c.key == of.key)


POINTERS: dict[str, Pointing] = {
    "member.record": lambda ours, row: _member(ours).values(record=row.key),
    "member.pixels": lambda ours, row: _member(ours).values(pixels=row.key),
    "member.instance": lambda ours, row: _member(ours).values(instance=row.key),
    "member.record and pixels": lambda ours, row: _member(ours).values(record=row.key, pixels=row.key),
    "all of a member": lambda ours, row: _member(ours).values(
        instance=row.key, record=row.key, pixels=row.key
    ),
    "record.pixels": lambda ours, row: _row(tables.record, ours).values(pixels=row.key),
    "record.patient_value": lambda ours, row: _row(tables.record, ours).values(
        patient_value=row.patient_value
    ),
    "record.study_value": lambda ours, row: _row(tables.record, ours).values(study_value=row.study_value),
    "record.series_value": lambda ours, row: _row(tables.record, ours).values(series_value=row.series_value),
    "record.pack": lambda ours, row: _row(tables.record, ours).values(pack=row.pack),
    "pixels.pack": lambda ours, row: _row(tables.pixels, ours).values(pack=row.pack),
    "level.base, patient": lambda ours, row: _level(ours, 0).values(base=row.patient_value),
    "level.base, study": lambda ours, row: _level(ours, 1).values(base=row.study_value),
    "level.base, series": lambda ours, row: _level(ours, 2).values(base=row.series_value),
    "record.datastore": lambda ours, row: _row(tables.record, ours).values(datastore=row.datastore),
    "pixels.datastore": lambda ours, row: _row(tables.pixels, ours).values(datastore=row.datastore),
    "image_set.datastore": lambda ours, row: _image_set(ours).values(
        datastore=row.datastore, listed_in=row.datastore
    ),
    "image_set.listed_in": lambda ours, row: _image_set(ours).values(listed_in=row.datastore),
}


def change(stores: Stores, *statements: Any) -> None:
    def work(conn: Connection) -> None:
        for statement in statements:
            conn.execute(statement)

    stores.db.write(work)


Rows = dict[Any, list[dict[str, Any]]]


def rows_of(stores: Stores, of: BuiltSet) -> Rows:
    """All rows that `POINTERS` change, to be `put_back`."""
    keys = [each.pixels_key for each in of.instances]
    where = {
        tables.image_set: tables.image_set.c.key == of.key,
        tables.member: tables.member.c.image_set == of.key,
        tables.level: tables.level.c.image_set == of.key,
        tables.record: tables.record.c.key.in_(keys),
        tables.pixels: tables.pixels.c.key.in_(keys),
    }
    with stores.db.read() as conn:
        return {
            table: [dict(row) for row in conn.execute(select(table).where(held)).mappings()]
            for table, held in where.items()
        }


def put_back(stores: Stores, rows: Rows) -> None:
    def work(conn: Connection) -> None:
        for table, kept in rows.items():
            column = table.c.key if "key" in table.c else table.c.image_set
            conn.execute(table.delete().where(column.in_({row[column.name] for row in kept})))
            conn.execute(table.insert(), kept)

    stores.db.write(work)
