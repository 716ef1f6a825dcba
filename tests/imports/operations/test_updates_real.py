"""Updates of real files: nothing else changes, and what is exported imports as it was shown."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom.data
import pytest
from sqlalchemy import Connection, select
from sqlalchemy import update as sql_update

from lightwell.clock import Ids
from lightwell.documents.part10_files import write_instance
from lightwell.operations.datastores import create_datastore
from lightwell.operations.get_image_set_metadata import get_image_set_metadata
from lightwell.operations.update_image_set_metadata import update_image_set_metadata
from lightwell.stores.account import datastores
from lightwell.stores.db import tables
from lightwell.stores.image_sets import part10_instances
from lightwell.stores.qido import index
from lightwell.wire import shapes
from tests.support import invariants
from tests.support.imports import Importing, importing
from tests.support.shared_data import SHARED

# What follows from the transfer syntax that a file is exported in, and what stays in the document by rule.
_OF_THE_FILE = {
    "FileMetaInformationGroupLength",
    "MediaStorageSOPInstanceUID",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "SpecificCharacterSet",
    "TransferSyntaxUID",
}


@pytest.fixture
def real(tmp_path: Path, migrated_sqlite_url: str) -> Iterator[tuple[Importing, list[str]]]:
    """One image set per series of pydicom's test files and, where they are, our own; none of them primary."""
    server = importing(tmp_path / "data", migrated_sqlite_url, codec_workers=2)
    folder = server.input / "real"
    folder.mkdir()
    files = list((Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm"))
    for name in ("syntaxes", "enhanced-mr"):
        files += (SHARED / name).glob("*.dcm")
    for number, path in enumerate(files):
        shutil.copy(path, folder / f"{number}.dcm")
    ids = [summary["imageSetId"] for summary in server.run("real/").manifest["imageSetsSummary"]]
    assert len(ids) > 20
    server.stores.db.write(_make_none_primary)
    yield server, ids
    server.close()


def _make_none_primary(conn: Connection) -> None:
    conn.execute(sql_update(tables.image_set).values(is_primary=False))
    for key in conn.execute(select(tables.image_set.c.key)).scalars().all():
        index.drop_set(conn, key, 0)
        index.empty_set(conn, key, 10_000)


def text(server: Importing, id: str) -> str:
    answer = get_image_set_metadata(
        server.context, shapes.GetImageSetMetadataRequest(datastore_id=server.datastore, image_set_id=id)
    )
    return gzip.decompress(answer.image_set_metadata_blob).decode()


def change(server: Importing, id: str, version: int, updatable: Any, removable: Any = None) -> None:
    blobs = [
        None if blob is None else json.dumps({"SchemaVersion": 1.1, **blob}).encode()
        for blob in (updatable, removable)
    ]
    update_image_set_metadata(
        server.context,
        shapes.UpdateImageSetMetadataRequest(
            datastore_id=server.datastore,
            image_set_id=id,
            latest_version_id=str(version),
            force=True,
            update_image_set_metadata_updates=shapes.MetadataUpdates(
                dicom_updates=shapes.DICOMUpdates(
                    updatable_attributes=blobs[0], removable_attributes=blobs[1]
                )
            ),
        ),
    )


def first_instance(document: Any) -> tuple[str, str, Any]:
    ((series, of),) = document["Study"]["Series"].items()
    uid, instance = next(iter(of["Instances"].items()))
    return series, uid, instance


def at_instance(series: str, uid: str, dicom: Any, **more: Any) -> Any:
    return {"Series": {series: {"Instances": {uid: {"DICOM": dicom, **more}}}}}


@pytest.mark.slow
def test_changes_no_byte_when_attributes_keep_their_values(real: tuple[Importing, list[str]]) -> None:
    server, ids = real
    given = 0
    for id in ids:
        before, version = text(server, id), 1
        series, uid, instance = first_instance(json.loads(before))
        for values in portions(instance["DICOM"]):
            change(server, id, version, {"Study": at_instance(series, uid, values)})
            version += 1
            given += len(values)
        assert text(server, id) == before
    assert given > 900
    invariants.check(server.stores)


def portions(dicom: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What may be given to an instance, in portions that fit a request."""
    portion: dict[str, Any] = {}
    for key, value in dicom.items():
        if key in ("FileMetaInformationVersion", *_OF_THE_FILE) or key.endswith("InstanceUID"):
            continue
        if "\\x00" in repr(value) or len(json.dumps(value)) > 25_000:
            continue
        if len(json.dumps({**portion, key: value})) > 29_000:
            yield portion
            portion = {}
        portion[key] = value
    yield portion


@pytest.mark.slow
def test_imports_what_it_exports_as_it_was_shown(real: tuple[Importing, list[str]]) -> None:
    server, ids = real
    shown: dict[str, Any] = {}
    for number, id in enumerate(ids):
        document = json.loads(text(server, id))
        change(server, id, 1, *edits(document, number))
        shown |= instances(json.loads(text(server, id)))
    invariants.check(server.stores)
    count = export(server, ids, server.input / "again")
    assert count == len(shown)
    server.datastore = create_datastore(
        server.context, shapes.CreateDatastoreRequest(client_token=Ids().id())
    ).datastore_id
    report = server.run("again/")
    assert report.failure == []
    again: dict[str, Any] = {}
    for summary in report.manifest["imageSetsSummary"]:
        again |= instances(json.loads(text(server, summary["imageSetId"])))
    assert again.keys() == shown.keys()
    for uid, attributes in shown.items():
        assert again[uid] == attributes


def edits(document: Any, number: int) -> tuple[Any, Any]:
    """An update of every kind and the removal of some attributes, under UIDs of its own."""
    series, uid, instance = first_instance(document)
    private = {"00191010": "MINE", "001910F9": "97"}
    reference = [{"ReferencedSOPClassUID": "1.2", "00191010": "MINE", "00191011": "ö"}]
    study = at_instance(
        series,
        uid,
        {"SOPInstanceUID": f"1.2.{number}.1.1", "ReferencedImageSequence": reference, **private},
        DICOMVRs={"00191010": "LO", "00191011": "LO", "001910F9": "DS"},
    )
    study["DICOM"] = {"StudyInstanceUID": f"1.2.{number}", "StudyDescription": "x"}
    study["Series"][series]["DICOM"] = {
        "SeriesInstanceUID": f"1.2.{number}.1",
        "SoftwareVersions": ["a", "b"],
    }
    patient = {"PatientName": "Ł^Ü" if number % 2 else "A^B", "PatientComments": "line\r\ntwo"}

    def some(block: Any, *keys: str) -> Any:
        return {key: block[key] for key in keys if key in block}

    gone = at_instance(
        series,
        uid,
        some(instance["DICOM"], "AcquisitionNumber", "ContentDate", "ImageType", "InstanceNumber"),
    )
    gone["DICOM"] = some(document["Study"]["DICOM"], "StudyTime", "ReferringPhysicianName")
    removed = some(document["Patient"]["DICOM"], "PatientID", "PatientBirthDate")
    return {"Patient": {"DICOM": patient}, "Study": study}, {"Patient": {"DICOM": removed}, "Study": gone}


def instances(document: Any) -> dict[str, Any]:
    """Everything that a document shows of each instance, but for what belongs to its file; DS, IS trimmed."""
    (series,) = document["Study"]["Series"].values()
    levels = {**document["Patient"]["DICOM"], **document["Study"]["DICOM"], **series["DICOM"]}
    return {
        uid: {
            **{
                key: value.rstrip(" \0") if isinstance(value, str) else value
                for key, value in {**levels, **shown["DICOM"]}.items()
                if key not in _OF_THE_FILE
            },
            "VRs": shown["DICOMVRs"],
            "frames": [frame["PixelDataChecksumFromBaseToFullResolution"] for frame in shown["ImageFrames"]],
        }
        for uid, shown in series["Instances"].items()
    }


def export(server: Importing, ids: list[str], folder: Path) -> int:
    folder.mkdir()
    count = 0
    for id in ids:
        with server.stores.db.read() as conn:
            store = datastores.get(conn, server.datastore)
            assert store is not None
            (found,) = part10_instances.readable_sets(conn, store.key, id)
            stored = part10_instances.instances(conn, found.key, found.version)
        for instance in stored:
            with (folder / f"{count}.dcm").open("wb") as out:
                write_instance(server.stores, instance, out)
            count += 1
    return count
