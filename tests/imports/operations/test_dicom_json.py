"""DICOM JSON of versions: after edits of every kind, of old records, and what is kept of it."""

from __future__ import annotations

import asyncio
import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update as sql_update

from lightwell.documents import dicom_json_documents, metadata_documents
from lightwell.operations.copy_image_set import copy_image_set
from lightwell.operations.dicomweb import metadata
from lightwell.operations.dicomweb.lookup import DicomwebTarget, SeriesSet
from lightwell.operations.get_image_set_metadata import MetadataReader, get_image_set_metadata
from lightwell.stores.account import datastores
from lightwell.stores.db import tables
from lightwell.stores.image_sets import by_series, lookups, part10_instances
from lightwell.wire import shapes
from tests.imports.operations.test_updates import blob, sets, two_sets, update
from tests.support import consistency, invariants
from tests.support.ct_files import ROOT, ct, write
from tests.support.imports import Importing

UIDS = [f"{ROOT}.1.1.{number}" for number in (1, 2, 3)]


def shown(server: Importing, id: str) -> list[dict[str, Any]]:
    """The array of a set; asserts that it agrees with the document and the files."""
    with server.stores.db.read() as conn:
        store = datastores.get(conn, server.datastore)
        assert store is not None
        (found,) = part10_instances.readable_sets(conn, store.key, id)
        assert not consistency.differences(conn, server.stores, found)
        (each,) = [
            one
            for one in by_series.of_series(
                conn, server.datastore, found.study_instance_uid, found.series_instance_uid
            )
            if one.id == id
        ]
        array = json.loads(
            b"".join(dicom_json_documents.series_pieces(conn, server.stores, each, with_meta=True))
        )
    assert all(list(one) == sorted(one) for one in array)
    invariants.check(server.stores)
    return array  # type: ignore[no-any-return]


def test_shows_edits_of_levels_and_instances(sqlite: Importing) -> None:
    _, id = two_sets(sqlite)
    code = {"CodeValue": "1", "CodeMeaning": "Größe", "00191002": "x"}
    own = {
        UIDS[1]: {
            "DICOM": {"00190010": "LIGHT", "00191001": "AAECAw==", "0019100A": "1.50\\ 2",
                      "ImageComments": "a\\b",
                      "SliceThickness": "2.50", "AcquisitionNumber": "7", "InstanceNumber": "0",
                      "RescaleSlope": None, "FrameIncrementPointer": ["00181063"],
                      "AnatomicRegionSequence": [code, {}], "ImageType": ["DERIVED", "", "AXIAL"]},
            "DICOMVRs": {"00190010": "LO", "00191001": "UN", "0019100A": "DS", "00191002": "LO"},
        },
    }  # fmt: skip
    update(
        sqlite,
        id,
        1,
        blob(
            patient={"PatientName": "Ямада^Тарō=山田", "PatientComments": ""},
            study={"PatientWeight": "70", "StudyDescription": "α"},
            series={"SeriesDescription": "β", "ProtocolName": "p"},
            instances=own,
        ),
        force=True,
    )
    second, first, third = shown(sqlite, id)
    assert second["00080018"]["Value"] == [UIDS[1]]  # it is number 0 now
    for each in (first, second, third):
        assert each["00100010"] == {
            "vr": "PN",
            "Value": [{"Alphabetic": "Ямада^Тарō", "Ideographic": "山田"}],
        }
        assert each["00104000"] == {"vr": "LT"}
        assert each["00080005"] == {"vr": "CS", "Value": ["ISO_IR 100"]}  # of the source
        assert each["00101030"] == {"vr": "DS", "Value": [70]}
    assert second["00191001"] == {"vr": "UN", "InlineBinary": "AAECAw=="}
    assert second["0019100A"] == {"vr": "DS", "Value": [1.5, 2]}
    assert second["00082218"]["Value"] == [
        {
            "00080100": {"vr": "SH", "Value": ["1"]},
            "00080104": {"vr": "LO", "Value": ["Größe"]},
            "00191002": {"vr": "LO", "Value": ["x"]},
        },
        {},
    ]
    assert second["00080008"]["Value"] == ["DERIVED", None, "AXIAL"]
    assert second["00280009"] == {"vr": "AT", "Value": ["00181063"]}
    removed = {UIDS[1]: {"DICOM": {"00191001": "AAECAw==", "SliceThickness": "2.50"}}}
    update(sqlite, id, 2, None, blob(instances=removed), force=True)
    assert not {"00191001", "00180050"} & shown(sqlite, id)[0].keys()
    update(sqlite, id, 3, blob(study={"StudyDescription": "γ"}), force=True)
    assert shown(sqlite, id)[2]["00081030"]["Value"] == ["γ"]

    # What says how pixels lie stays as they are.
    update(sqlite, id, 4, blob(instances={UIDS[0]: {"DICOM": {"Rows": 5, "BitsStored": 12}}}), force=True)
    assert shown(sqlite, id)[1]["00280010"]["Value"] == [16]

    new = f"{ROOT}.77"
    renamed = {UIDS[0]: {"DICOM": {"SOPInstanceUID": f"{new}.3"}}}
    uids = {"StudyInstanceUID": new}, {"SeriesInstanceUID": f"{new}.1"}
    update(sqlite, id, 5, blob(study=uids[0], series=uids[1], instances=renamed), force=True)
    array = shown(sqlite, id)
    assert {each["0020000D"]["Value"][0] for each in array} == {new}
    assert {each["0020000E"]["Value"][0] for each in array} == {f"{new}.1"}
    assert array[1]["00080018"]["Value"] == [f"{new}.3"]

    request = shapes.CopyImageSetRequest(
        datastore_id=sqlite.datastore,
        source_image_set_id=id,
        copy_image_set_information=shapes.CopyImageSetInformation(
            source_image_set=shapes.CopySourceImageSetInformation(latest_version_id="6")
        ),
    )
    answer = copy_image_set(sqlite.context, request)
    assert shown(sqlite, answer.destination_image_set_properties.image_set_id) == array


def test_derives_old_records_and_keeps_one_document_a_version(
    server: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(server.input / "a/1.dcm", ct(1, PatientComments="Grüße", SpecificCharacterSet="ISO_IR 100"))
    (one,) = sets(server, "a/")
    before = shown(server, one["imageSetId"])
    old = sql_update(tables.record).values(dicom_z=None, dicom_dictionary=None)
    server.stores.db.write(lambda conn: conn.execute(old))
    assert shown(server, one["imageSetId"]) == before
    assert before[0]["00104000"]["Value"] == ["Grüße"]

    target = DicomwebTarget(server.datastore, f"{ROOT}.1", f"{ROOT}.1.1", base="http://here/datastore/x")
    ctx = server.context
    monkeypatch.setattr(metadata_documents, "recent_documents", metadata_documents.RecentDocuments(1 << 20))

    def cached() -> tuple[str, bytes] | None:
        found = asyncio.run(metadata.cached_series_metadata(ctx.stores, ctx.settings, ctx.clock, target))
        return None if found is None else found[:2]

    assert cached() is None
    found = metadata.find_image_sets(ctx, target)
    data = metadata.gzipped_metadata(ctx, target, found)
    assert cached() == (found.etag, data)
    monkeypatch.setattr(metadata_documents, "recent_documents", metadata_documents.RecentDocuments(1 << 20))

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("it was made again")

    monkeypatch.setattr(dicom_json_documents, "series_pieces", refused)
    assert metadata.gzipped_metadata(ctx, target, found) == data
    each: SeriesSet = found.sets[0]
    metadata_documents.drop_documents(ctx.stores, each.key)
    assert cached() is None


def test_documents_of_a_version_that_is_lost_are_not_shown_for_the_next_of_its_number(
    sqlite: Importing, tmp_path: Path
) -> None:
    """The database goes back, as by a restored backup or a standby that lacked the last moments."""
    id, _ = two_sets(sqlite)
    ctx, live = sqlite.context, sqlite.stores.db
    target = DicomwebTarget(sqlite.datastore, f"{ROOT}.1", f"{ROOT}.1.1", base="http://x")
    reader = MetadataReader(ctx.stores, ctx.clock)

    def read() -> tuple[str, list[str]]:
        """Entity tag, and what each form describes the study by: warm, as it is read, and as it was kept."""
        found = metadata.find_image_sets(ctx, target)
        arrays = [metadata.gzipped_metadata(ctx, target, found)]
        warm = asyncio.run(metadata.cached_series_metadata(ctx.stores, ctx.settings, ctx.clock, target))
        assert warm is not None and warm[:2] == (found.etag, arrays[0])
        texts = [json.loads(gzip.decompress(each))[0]["00081030"]["Value"][0] for each in arrays]
        for number in (None, 2):
            request = shapes.GetImageSetMetadataRequest(
                datastore_id=sqlite.datastore,
                image_set_id=id,
                version_id=None if number is None else str(number),
            )
            warm_document = reader.cached_document(sqlite.datastore, id, number)
            documents = [] if warm_document is None else [warm_document[0]]
            documents.append(get_image_set_metadata(ctx, request).image_set_metadata_blob)
            texts += [
                json.loads(gzip.decompress(each))["Study"]["DICOM"]["StudyDescription"] for each in documents
            ]
        return found.etag, texts

    with closing(sqlite3.connect(tmp_path / "backup")) as backup:
        live.raw().backup(backup)
        update(sqlite, id, 1, blob(study={"StudyDescription": "FIRST"}), include_study_image_sets=True)
        assert set(read()[1]) == {"FIRST"}
        tag, texts = read()
        assert texts == ["FIRST"] * 5
        live.close()
        backup.backup(live.raw())
    live.close()
    update(sqlite, id, 1, blob(study={"StudyDescription": "SECOND"}), include_study_image_sets=True)
    other, texts = read()
    assert set(texts) == {"SECOND"} and other != tag
    assert read() == (other, ["SECOND"] * 5)
    invariants.check(sqlite.stores)


def test_versions_of_earlier_releases_are_told_apart_by_their_times(sqlite: Importing) -> None:
    _, id = two_sets(sqlite)
    sqlite.stores.db.write(lambda conn: conn.execute(sql_update(tables.version).values(mark=None)))
    with sqlite.stores.db.read() as conn:
        found = lookups.get_marked(conn, sqlite.datastore, id, None)
        assert found is not None and found[1] == found[0].created_at > 0
    row = sqlite.stores.db.look_up(lookups.READABLE_LOOK_UP, (id, sqlite.datastore))
    assert row is not None and (row[0], *row[4:]) == (found[0].key, 1, found[1])
