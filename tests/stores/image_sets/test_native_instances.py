"""The instances of a version, and the documents that are assembled from them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, select, update

from lightwell.documents import metadata_documents
from lightwell.domain.image_sets.edits import Edit
from lightwell.domain.image_sets.image_set import ImageSet
from lightwell.errors import DamagedError, StorageError
from lightwell.stores import Stores
from lightwell.stores.db import tables
from lightwell.stores.db.compression import compress
from lightwell.stores.image_sets import lookups, native_instances
from lightwell.stores.image_sets.edits import pack
from lightwell.stores.image_sets.records import level_bodies
from tests.support import image_set_builders
from tests.support.image_set_builders import BuiltInstance, BuiltSet


@pytest.fixture
def stores(database_url: str, tmp_path: Path) -> Iterator[Stores]:
    found = image_set_builders.open_at(tmp_path, database_url)
    yield found
    found.close()


def row(stores: Stores, built: BuiltSet) -> ImageSet:
    with stores.db.read() as conn:
        found = lookups.get(conn, built.datastore_id, built.id)
    assert found is not None
    return found


def uids(stores: Stores, built: BuiltSet, version: int) -> list[str]:
    with stores.db.read() as conn:
        return [member.sop_instance_uid for member, _ in native_instances.members(conn, built.key, version)]


def read(stores: Stores, built: BuiltSet, version: int = 1) -> dict[str, Any]:
    found = row(stores, built)
    with stores.db.read() as conn:
        pieces = metadata_documents.native_document_pieces(conn, built.datastore_id, found, version)
        data = metadata_documents.gzip_pieces(pieces)
    document: dict[str, Any] = json.loads(gzip.decompress(data))
    return document


def instances(document: dict[str, Any]) -> dict[str, Any]:
    (series,) = document["Study"]["Series"].values()
    found: dict[str, Any] = series["Instances"]
    return found


def test_orders_by_instance_number_and_puts_those_without_last(stores: Stores) -> None:
    given = [("c", None), ("b", 10), ("a", 2), ("d", -1)]
    built = image_set_builders.image_set(stores, [BuiltInstance(uid, number) for uid, number in given])
    assert uids(stores, built, 1) == ["d", "a", "b", "c"]


def test_gives_the_members_of_the_asked_version(stores: Stores) -> None:
    built = image_set_builders.image_set(
        stores,
        [
            BuiltInstance("stays", 1),
            BuiltInstance("goes", 2, to_version=2),
            BuiltInstance("comes", 3, from_version=2),
            BuiltInstance("replaced", 4, {"A": "old"}, to_version=3),
            BuiltInstance("replaced", 4, {"A": "new"}, from_version=3),
        ],
        versions=[{}, {}, {}],
    )
    assert uids(stores, built, 1) == ["stays", "goes", "replaced"]
    assert uids(stores, built, 2) == ["stays", "comes", "replaced"]
    assert instances(read(stores, built, 2))["replaced"]["DICOM"]["A"] == "old"
    assert instances(read(stores, built, 3))["replaced"]["DICOM"]["A"] == "new"


@pytest.mark.parametrize("with_dictionary", [True, False])
def test_assembles_the_document_of_a_version(stores: Stores, with_dictionary: bool) -> None:
    frames = [b"first frame", b"second"]
    image = BuiltInstance("1.1", 1, {"Rows": 3}, frames, with_dictionary=with_dictionary)
    other = BuiltInstance("1.2", 2, {"Rows": 4}, with_dictionary=with_dictionary)
    built = image_set_builders.image_set(stores, [image, other])
    document = read(stores, built)
    assert document["DatastoreID"] == built.datastore_id
    assert document["ImageSetID"] == built.id
    assert document["Patient"] == {"DICOM": {"PatientID": "P1", "PatientName": "DOE^JANE"}}
    assert document["Study"]["DICOM"]["StudyDate"] == "20200102"
    assert list(document["Study"]["Series"]) == [f"1.2.4.{built.key}"]
    with_frames, without = instances(document).values()
    assert without == {
        "DICOM": {"SOPInstanceUID": "1.2", "Rows": 4},
        "DICOMVRs": {},
        "ImageFrames": [],
    }
    assert with_frames["StoredTransferSyntaxUID"] == image_set_builders.HTJ2K
    assert with_frames["ChecksumType"] == "DECOMPRESSED"
    assert [frame["ID"] for frame in with_frames["ImageFrames"]] == [image.frame_id(0), image.frame_id(1)]
    assert [frame["FrameSizeInBytes"] for frame in with_frames["ImageFrames"]] == [11, 6]


def test_lists_no_frame_of_pixels_that_could_not_be_split(stores: Stores) -> None:
    built = image_set_builders.image_set(stores, [BuiltInstance("1.1", 1, frames=[b"broken"], split=False)])
    found = instances(read(stores, built))["1.1"]
    assert found["ImageFrames"] == []
    assert found["StoredTransferSyntaxUID"] == image_set_builders.HTJ2K


def test_lists_every_frame_of_several_pages(stores: Stores) -> None:
    image = BuiltInstance("1.1", 1, frames=[b"%d" % number for number in range(515)])
    built = image_set_builders.image_set(stores, [image])
    listed = instances(read(stores, built))["1.1"]["ImageFrames"]
    assert [frame["ID"] for frame in listed] == [image.frame_id(number) for number in range(515)]


def test_shows_in_an_instance_what_differs_from_the_levels_of_its_set(stores: Stores) -> None:
    same = {"PatientID": "P1", "PatientName": "DOE^JANE"}
    built = image_set_builders.image_set(
        stores,
        [
            BuiltInstance("1.1", 1),
            BuiltInstance("1.2", 2, patient=same | {"PatientName": "DOE^J"}, study={"StudyDate": "20200102"}),
        ],
        patient=same,
        study={"StudyDate": "20200102", "PatientAge": "040Y"},
    )
    first, second = instances(read(stores, built)).values()
    assert first["DICOM"] == {"SOPInstanceUID": "1.1"}
    assert second["DICOM"] == {"PatientName": "DOE^J", "PatientAge": None, "SOPInstanceUID": "1.2"}


def test_keeps_order_and_content_over_many_batches(stores: Stores) -> None:
    given = [BuiltInstance(f"1.{number}", 1000 - number, {"N": number}, [b"x"]) for number in range(600)]
    built = image_set_builders.image_set(stores, given)
    found = instances(read(stores, built))
    assert [instance["DICOM"]["N"] for instance in found.values()] == list(range(599, -1, -1))


@pytest.mark.parametrize(
    "table", [tables.record, tables.pixels, tables.frame_table, tables.dictionary, tables.level]
)
def test_refuses_rather_than_leaving_out_what_is_lost(stores: Stores, table: Any) -> None:
    built = image_set_builders.image_set(
        stores, [BuiltInstance(f"1.{number}", number, frames=[b"x"]) for number in range(3)]
    )
    key = next(iter(table.primary_key.columns))

    def lose(conn: Any) -> None:
        conn.execute(delete(table).where(key == conn.execute(table.select().with_only_columns(key)).scalar()))

    stores.db.write(lose)
    with pytest.raises(StorageError, match="data verify"):
        read(stores, built)


@pytest.mark.parametrize("number", range(3))
def test_refuses_where_any_record_is_lost(stores: Stores, number: int) -> None:
    built = image_set_builders.image_set(stores, [BuiltInstance(f"1.{number}") for number in range(3)])
    lost = delete(tables.record).where(tables.record.c.sop_instance_uid == f"1.{number}")
    stores.db.write(lambda conn: conn.execute(lost))
    with pytest.raises(StorageError, match="the record of an instance"):
        read(stores, built)


def test_shows_edits_of_levels_and_instances(stores: Stores) -> None:
    built = image_set_builders.image_set(
        stores,
        [
            BuiltInstance("1.1", 1, {"Rows": 3}),
            BuiltInstance("1.2", 2, {"Rows": 4}, patient={"PatientID": "P2", "PatientName": "X"}),
        ],
        patient={"PatientID": "P1", "PatientName": "DOE"},
    )

    def edit(conn: Connection) -> None:
        on_level = pack(
            {"PatientID": Edit("LO", "NEW"), "PatientAge": None, "EthnicGroup": Edit("SH", "é")}, None
        )
        conn.execute(update(tables.level).where(tables.level.c.level == 0).values(edits=on_level))
        key = conn.execute(
            select(tables.instance.c.key).where(tables.instance.c.sop_instance_uid == "1.2")
        ).scalar_one()
        own = {
            "Rows": None,
            "Columns": Edit("US", 7),
            "00191001": Edit("DS", "1"),
            "PatientName": Edit("PN", "Y"),
        }
        own["SOPInstanceUID"] = Edit("UI", "9.9")
        conn.execute(
            update(tables.member).where(tables.member.c.instance == key).values(edits=pack(own, None))
        )

    stores.db.write(edit)
    document = read(stores, built)
    assert list(document["Patient"]["DICOM"].items()) == [
        ("EthnicGroup", "é"), ("PatientID", "NEW"), ("PatientName", "DOE"),
    ]  # fmt: skip
    first, second = instances(document).items()
    assert first == (
        "1.1",
        {"DICOM": {"SOPInstanceUID": "1.1", "Rows": 3}, "DICOMVRs": {}, "ImageFrames": []},
    )
    assert second[0] == "9.9"
    assert list(second[1]["DICOM"].items()) == [
        ("PatientName", "Y"), ("SOPInstanceUID", "9.9"), ("00191001", "1"), ("Columns", 7),
    ]  # fmt: skip
    assert second[1]["DICOMVRs"] == {"00191001": "DS"}


@pytest.mark.parametrize("damaged", [b"{}", compress(b"{"), compress(b'{"A":1}'), compress(b"[]")])
def test_refuses_edits_that_are_damaged(stores: Stores, damaged: bytes) -> None:
    built = image_set_builders.image_set(stores, [BuiltInstance("1.1", 1)])
    stores.db.write(lambda conn: conn.execute(update(tables.member).values(edits=damaged)))
    with pytest.raises(StorageError, match="data verify"):
        read(stores, built)


def test_covers_what_an_instance_shows_by_the_digits_of_its_tag(stores: Stores) -> None:
    odd = {"Rows": 3, "00100010": "QUJD", "00100020": "QUJD"}
    built = image_set_builders.image_set(
        stores, [BuiltInstance("1.1", 1, odd), BuiltInstance("1.2", 2, {"Rows": 4})]
    )
    assert "00100010" in instances(read(stores, built))["1.1"]["DICOM"]
    gone = (
        update(tables.level).where(tables.level.c.level == 0).values(edits=pack({"PatientName": None}, None))
    )
    stores.db.write(lambda conn: conn.execute(gone))
    shown = instances(read(stores, built))
    assert shown["1.1"]["DICOM"] == {"SOPInstanceUID": "1.1", "Rows": 3, "00100020": "QUJD"}
    assert shown["1.2"]["DICOM"] == {"SOPInstanceUID": "1.2", "Rows": 4}
    own = update(tables.member).values(
        edits=pack({"00100010": Edit("UN", "QUJE"), "Columns": Edit("US", 5)}, None)
    )
    stores.db.write(lambda conn: conn.execute(own))
    assert "00100010" not in instances(read(stores, built))["1.1"]["DICOM"]


def store_body(stores: Stores, key: int, body_z: bytes) -> None:
    change = update(tables.level_value).where(tables.level_value.c.key == key).values(body_z=body_z)
    stores.db.write(lambda conn: conn.execute(change))


def test_refuses_level_blocks_that_are_not_what_was_stored(stores: Stores) -> None:
    built = image_set_builders.image_set(stores, [BuiltInstance("1.2", 1)])
    with stores.db.read() as conn:
        rows = conn.execute(select(tables.level_value.c.key, tables.level_value.c.body_z)).all()
        bodies = level_bodies(conn, [key for key, _ in rows])
    assert len(rows) == 3
    for key, body_z in rows:
        for wrong in (compress(bodies[key] + b" "), body_z[:-1]):
            store_body(stores, key, wrong)
            with pytest.raises(DamagedError, match="attribute block"):
                read(stores, built)
            with stores.db.read() as conn, pytest.raises(DamagedError):
                level_bodies(conn, [key])
            with stores.db.read() as conn, pytest.raises(DamagedError):
                native_instances.level_body(conn, built.key, key)
        store_body(stores, key, body_z)
    assert read(stores, built)["ImageSetID"] == built.id
