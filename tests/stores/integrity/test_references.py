"""Rows that point at a record, pixels or attributes of somebody else, as `data verify` finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from lightwell.stores import Stores
from lightwell.stores.collector import integrity
from lightwell.stores.db import tables
from lightwell.stores.db.bulk import insert_many
from tests.support import image_set_builders
from tests.support.image_set_builders import NOW, BuiltInstance, BuiltSet

PATIENT = {"PatientID": "P1", "PatientName": "DOE^JANE"}


@pytest.fixture
def stores(database_url: str, tmp_path: Path) -> Iterator[Stores]:
    found = image_set_builders.open_at(tmp_path, database_url)
    yield found
    found.close()


def built(stores: Stores, uid: str, **more: Any) -> BuiltSet:
    """An image set of two images, and the row of its pack."""
    made = image_set_builders.image_set(
        stores, [BuiltInstance(f"{uid}.{n}", n, frames=[b"f%d" % n]) for n in (1, 2)], **more
    )

    def add_pack(conn: Connection) -> None:
        of = select(tables.pixels.c.pack).where(tables.pixels.c.key == made.instances[0].pixels_key)
        key = conn.execute(of).scalar_one()
        row = {"key": key, "datastore": made.datastore_key, "state": "LIVE", "created_at": NOW}
        insert_many(conn, tables.pack, [row])

    stores.db.write(add_pack)
    return made


@pytest.fixture
def ours(stores: Stores) -> BuiltSet:
    return built(stores, "1.1")


@pytest.fixture
def foreign(stores: Stores) -> BuiltSet:
    """Another patient's, in another data store."""
    return built(stores, "1.2", patient={"PatientID": "P2", "PatientName": "ROE^RICHARD"})


@pytest.fixture
def other(stores: Stores, ours: BuiltSet) -> BuiltSet:
    """Another patient's, in the same data store."""
    patient = {"PatientID": "P3", "PatientName": "POE^PAUL"}
    return built(stores, "1.3", patient=patient, store=(ours.datastore_key, ours.datastore_id))


def faults(stores: Stores, of: BuiltSet) -> set[str]:
    """Without those of an index that builders do not make."""
    with stores.db.read() as conn:
        found = integrity.faults_of_set(conn, of.key)
    return {fault for fault in found if "DICOMweb" not in fault}


def write(stores: Stores, *statements: Any) -> None:
    def work(conn: Connection) -> None:
        for statement in statements:
            conn.execute(statement)

    stores.db.write(work)


def record_of(built_set: BuiltSet, number: int = 0) -> int:
    return built_set.instances[number].pixels_key


def values(stores: Stores, of: BuiltSet) -> Any:
    with stores.db.read() as conn:
        return conn.execute(select(tables.record).where(tables.record.c.key == record_of(of))).one()


def first_member(of: BuiltSet) -> Any:
    member = tables.member
    return update(member).where(member.c.image_set == of.key, member.c.instance == record_of(of))


def first_record(of: BuiltSet) -> Any:
    return update(tables.record).where(tables.record.c.key == record_of(of))


def first_pixels(of: BuiltSet) -> Any:
    return update(tables.pixels).where(tables.pixels.c.key == record_of(of))


def levels(of: BuiltSet, number: int) -> Any:
    return update(tables.level).where(tables.level.c.image_set == of.key, tables.level.c.level == number)


def test_finds_nothing_among_rows_as_they_were_written(
    stores: Stores, ours: BuiltSet, foreign: BuiltSet, other: BuiltSet
) -> None:
    assert not faults(stores, ours) | faults(stores, foreign) | faults(stores, other)


_Pointing = Callable[[BuiltSet, BuiltSet, Any], Any]
CHANGES: dict[str, tuple[_Pointing, set[str], set[str]]] = {
    # What changes of us; what is said if it points at another data store; at another patient of the same.
    "member.record": (
        lambda ours, theirs, row: first_member(ours).values(record=row.key),
        {"1 members name records of another data store"},
        {"1 members name the records of other instances"},
    ),
    "member.pixels": (
        lambda ours, theirs, row: first_member(ours).values(pixels=row.key),
        {"1 members name pixels of another data store"},
        {"1 members show other pixels than their instances came with"},
    ),
    "member.instance": (
        lambda ours, theirs, row: first_member(ours).values(instance=row.key),
        {"1 members name instances of another data store"},
        {"1 members name the records of other instances"},
    ),
    "all of a member": (
        lambda ours, theirs, row: first_member(ours).values(instance=row.key, record=row.key, pixels=row.key),
        {"1 members name records of another data store"},
        {"1 of its instances are of another patient, study or series"},
    ),
    "record.pixels": (
        lambda ours, theirs, row: first_record(ours).values(pixels=row.key),
        {"1 members show other pixels than their instances came with"},
        {"1 members show other pixels than their instances came with"},
    ),
    "record.patient_value": (
        lambda ours, theirs, row: first_record(ours).values(patient_value=row.patient_value),
        {"1 of its instances have attributes of another data store"},
        {"1 of its instances are of another patient, study or series"},
    ),
    "record.pack": (
        lambda ours, theirs, row: first_record(ours).values(pack=row.pack),
        {"1 of its originals lie in packs of another data store"},
        set(),  # what it says differs from the row: `codec_pool.checking`
    ),
    "pixels.pack": (
        lambda ours, theirs, row: first_pixels(ours).values(pack=row.pack),
        {"1 of its images lie in packs of another data store"},
        set(),  # its bytes have other checksums
    ),
    "level.base, patient": (
        lambda ours, theirs, row: levels(ours, 0).values(base=row.patient_value),
        {"1 of its level blocks are of another data store"},
        {"version 1 shows a patient that none of its instances came with"},
    ),
    "level.base, study": (
        lambda ours, theirs, row: levels(ours, 1).values(base=row.study_value),
        {"1 of its level blocks are of another data store"},
        {"version 1 shows a study that none of its instances came with"},
    ),
    "level.base, series": (
        lambda ours, theirs, row: levels(ours, 2).values(base=row.series_value),
        {"1 of its level blocks are of another data store"},
        {"version 1 shows a series that none of its instances came with"},
    ),
    "record.datastore": (
        lambda ours, theirs, row: first_record(ours).values(datastore=theirs.datastore_key),
        {"1 members name records of another data store"},
        set(),
    ),
    "image_set.datastore": (
        lambda ours, theirs, row: (
            update(tables.image_set)
            .where(tables.image_set.c.key == ours.key)
            .values(datastore=theirs.datastore_key, listed_in=theirs.datastore_key)
        ),
        {"2 members name records of another data store", "it belongs to a study of another data store"},
        set(),
    ),
    "image_set.listed_in": (
        lambda ours, theirs, row: (
            update(tables.image_set)
            .where(tables.image_set.c.key == ours.key)
            .values(listed_in=theirs.datastore_key)
        ),
        {"searches of another data store find it"},
        set(),
    ),
}


def test_finds_each_row_that_points_at_somebody_else(
    stores: Stores, ours: BuiltSet, foreign: BuiltSet, other: BuiltSet
) -> None:
    rows = _copy(stores, ours)
    missed = []
    for column, (change, of_another_store, of_another_patient) in CHANGES.items():
        for theirs, expected in ((foreign, of_another_store), (other, of_another_patient)):
            if not expected:
                continue
            write(stores, change(ours, theirs, values(stores, theirs)))
            if not expected <= (found := faults(stores, ours)) or faults(stores, theirs):
                missed.append((column, expected, found))
            _put_back(stores, ours, rows)
    assert not missed
    assert not faults(stores, ours)


def _copy(stores: Stores, of: BuiltSet) -> dict[Any, list[dict[str, Any]]]:
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


def _put_back(stores: Stores, of: BuiltSet, rows: dict[Any, list[dict[str, Any]]]) -> None:
    def work(conn: Connection) -> None:
        for table, kept in rows.items():
            column = table.c.key if "key" in table.c else table.c.image_set
            conn.execute(table.delete().where(column.in_({row[column.name] for row in kept})))
            conn.execute(table.insert(), kept)

    stores.db.write(work)


def test_finds_what_is_lost(stores: Stores, ours: BuiltSet) -> None:
    row = values(stores, ours)
    write(stores, tables.pack.delete(), tables.level_value.delete().where(
        tables.level_value.c.key == row.patient_value
    ))  # fmt: skip
    assert {
        "2 of its originals lie in packs that are lost",
        "2 of its images lie in packs that are lost",
        "the attributes of 2 of its instances are lost",
    } <= faults(stores, ours)
