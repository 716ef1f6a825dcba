"""Rows that point at a record, pixels or attributes of somebody else, as `data verify` finds them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lightwell.stores import Stores
from lightwell.stores.collector import integrity
from lightwell.stores.db import tables
from tests.stores.integrity.pointing import (
    POINTERS,
    Three,
    change,
    put_back,
    record_of,
    rows_of,
    three_sets,
)
from tests.support import image_set_builders
from tests.support.image_set_builders import BuiltInstance, BuiltSet


@pytest.fixture
def stores(database_url: str, tmp_path: Path) -> Iterator[Stores]:
    found = image_set_builders.open_at(tmp_path, database_url)
    yield found
    found.close()


@pytest.fixture
def three(stores: Stores) -> Three:
    return three_sets(stores)


def faults(stores: Stores, of: BuiltSet) -> set[str]:
    """Without those of an index that builders do not make."""
    with stores.db.read() as conn:
        found = integrity.faults_of_set(conn, of.key)
    return {fault for fault in found if "DICOMweb" not in fault}


def test_finds_nothing_among_rows_as_they_were_written(stores: Stores, three: Three) -> None:
    assert not any(faults(stores, each) for each in (three.ours, three.other, three.foreign))


def test_finds_nothing_in_what_differs_by_space_around_it(stores: Stores) -> None:
    """Imports put that into one set, whatever white space it is."""
    ids = ("P1", "P1\t", "P1\r\n", "\u3000P1", "\u00a0P1 ")
    of = [
        BuiltInstance(f"1.1.{n}", n, patient={"PatientID": id, "PatientName": "DOE^JANE"})
        for n, id in enumerate(ids)
    ]
    found = faults(stores, image_set_builders.image_set(stores, of))
    assert found == {"5 of its originals lie in packs that are lost"}  # which are not made here


_SAME_PIXELS = "1 members show other pixels than their instances came with"
_OTHERS = "1 of its instances are of another patient, study or series"
_FOREIGN_VALUES = "1 of its instances have attributes of another data store"
_FOREIGN_LEVEL = "1 of its level blocks are of another data store"
EXPECTED = {
    # If it points at another data store; if it points at another patient of the same one.
    "member.record": (
        "1 members name records of another data store",
        "1 members name the records of other instances",
    ),
    "member.pixels": ("1 members name pixels of another data store", _SAME_PIXELS),
    "member.instance": (
        "1 members name instances of another data store",
        "1 members name the records of other instances",
    ),
    "member.record and pixels": ("1 members name pixels of another data store", _OTHERS),
    "all of a member": ("1 members name records of another data store", _OTHERS),
    "record.pixels": (_SAME_PIXELS, _SAME_PIXELS),
    "record.patient_value": (_FOREIGN_VALUES, _OTHERS),
    "record.study_value": (_FOREIGN_VALUES, _OTHERS),
    "record.series_value": (_FOREIGN_VALUES, _OTHERS),
    # Within a data store: what the original says differs from the row, see `codec_pool.checking`.
    "record.pack": ("1 of its originals lie in packs of another data store", None),
    # Within a data store: its bytes have other checksums.
    "pixels.pack": ("1 of its images lie in packs of another data store", None),
    "level.base, patient": (_FOREIGN_LEVEL, "version 1 shows a patient that none of its instances came with"),
    "level.base, study": (_FOREIGN_LEVEL, "version 1 shows a study that none of its instances came with"),
    "level.base, series": (_FOREIGN_LEVEL, "version 1 shows a series that none of its instances came with"),
    "record.datastore": ("1 members name records of another data store", None),
    "pixels.datastore": ("1 members name pixels of another data store", None),
    "image_set.datastore": ("it belongs to a study of another data store", None),
    "image_set.listed_in": ("searches of another data store find it", None),
}


def test_finds_each_row_that_points_at_somebody_else(stores: Stores, three: Three) -> None:
    assert EXPECTED.keys() == POINTERS.keys()
    rows = rows_of(stores, three.ours)
    missed = []
    for column, texts in EXPECTED.items():
        for theirs, expected in zip((three.foreign, three.other), texts, strict=True):
            if expected is not None:
                change(stores, POINTERS[column](three.ours, record_of(stores, theirs)))
                found = faults(stores, three.ours)
                if expected not in found or faults(stores, theirs):
                    missed.append((column, expected, found))
                put_back(stores, rows)
    assert not missed
    assert not faults(stores, three.ours)


def test_finds_what_is_lost(stores: Stores, three: Three) -> None:
    value = tables.level_value
    row = record_of(stores, three.ours)
    change(stores, tables.pack.delete(), value.delete().where(value.c.key == row.patient_value))
    assert {
        "2 of its originals lie in packs that are lost",
        "2 of its images lie in packs that are lost",
        "the attributes of 2 of its instances are lost",
    } <= faults(stores, three.ours)
