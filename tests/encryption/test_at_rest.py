"""What lies on the disk of an encrypted data store: nothing of a patient but what searches need."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Update, select, update

from lightwell.errors import DamagedError
from lightwell.settings import Settings
from lightwell.stores import Stores, open_stores
from lightwell.stores.collector import integrity
from lightwell.stores.db import tables
from lightwell.stores.image_sets import dicom_json_instances, native_instances
from lightwell.stores.image_sets.records import level_bodies
from tests.cli.running import lightwell_here
from tests.dicomweb.support.uploads import Store, part10
from tests.support.ct_files import ct
from tests.support.server import Server, ended_job, running

ALWAYS = {"LIGHTWELL_ENCRYPTION": "always"}
HIDDEN = {
    "PatientAddress": "17 Unmistakable Street",
    "OtherPatientIDs": "OTHER-4711-ID",
    "PatientComments": "afraid of confined spaces",
    "MedicalAlerts": "allergic to gadolinium",
    "AdmittingDiagnosesDescription": "glioblastoma suspected",
    "InstitutionAddress": "3 Hospital Hill",
    "ImageComments": "a comment on this image",
    "AcquisitionTime": "091817.123456",
    "FrameOfReferenceUID": "1.2.826.0.1.3680043.10.999.777",
}
"""Attributes that nothing searches by, on every level."""
SEARCHED = {
    "PatientName": "SEARCHED^NAME",
    "PatientID": "SEARCHED-ID",
    "PatientBirthDate": "19610718",
    "AccessionNumber": "SEARCHED-ACC",
    "StudyDescription": "searched study description",
    "ReferringPhysicianName": "SEARCHED^REFERRER",
    "InstitutionName": "SEARCHED INSTITUTION",
    "OperatorsName": "SEARCHED^OPERATOR",
}
"""Those that docs/howto/encryption.md says stand in the database as they are."""
EDITED = {"AdditionalPatientHistory": "an edited history"}
FILE_NAME = "NAMED^AFTER^SOMEBODY"
PRIVATE = b"a private value that is long enough"


@dataclass(slots=True)
class Filled:
    """The data folder of a server that has stopped, and what it said."""

    data: Path
    datastore: str
    documents: list[dict[str, Any]]
    running: list[bytes]
    """The database's files while it ran, after an import."""
    log: list[str]


def _import(server: Server, datastore: str) -> None:
    """An import job that has every fate of a file, all of which are named after a patient."""
    buckets = server.data / "buckets"
    folder = buckets / "in-bucket" / "incoming" / FILE_NAME
    folder.mkdir(parents=True)
    (buckets / "out-bucket").mkdir()
    good = part10(ct(1, study="7.1", size=64))
    for name, content in {"good.dcm": good, "cut.dcm": good[: len(good) // 2], "a.txt": b"a text"}.items():
        (folder / f"{FILE_NAME}-{name}").write_bytes(content)
    client = server.client()
    started = client.start_dicom_import_job(
        datastoreId=datastore,
        jobName="a-job",
        dataAccessRoleArn="arn:aws:iam::000000000000:role/any",
        inputS3Uri="s3://in-bucket/incoming/",
        outputS3Uri="s3://out-bucket/reports/",
    )
    assert ended_job(client, datastore, started["jobId"])["jobStatus"] == "COMPLETED"
    reports = [path.read_text() for path in (buckets / "out-bucket").rglob("*.ndjson")]
    named = [report.count(f"{FILE_NAME}-") for report in reports]
    assert sum(named) >= 3, reports


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    data = tmp_path_factory.mktemp("at rest") / "data"
    with running(data, env=ALWAYS) as server:
        client = server.client()
        id = client.create_datastore(datastoreName="encrypted")["datastoreId"]
        store = Store(server, id)
        files = [ct(number, size=64, **HIDDEN, **SEARCHED) for number in (1, 2, 3)]
        for file in files:
            file.private_block(0x0019, "LIGHT", create=True).add_new(0x01, "OB", PRIVATE)
        assert len(store.store(*files).stored) == 3
        (found,) = store.sets()
        (again,) = store.store(files[0]).stored
        assert again and store.sets() == [found]  # the levels of what came again are those that are there
        one, series = str(files[0].SOPInstanceUID), str(files[0].SeriesInstanceUID)
        own = {"Series": {series: {"Instances": {one: {"DICOM": {"ImageComments": "an edited image"}}}}}}
        for version, study, whole in (("1", {"DICOM": EDITED}, True), ("2", own, False)):
            change = json.dumps({"SchemaVersion": "1.1", "Study": study}).encode()
            client.update_image_set_metadata(
                datastoreId=id,
                imageSetId=found["imageSetId"],
                latestVersionId=version,
                includeStudyImageSets=whole,
                updateImageSetMetadataUpdates={"DICOMUpdates": {"updatableAttributes": change}},
            )
        copy = client.copy_image_set(
            datastoreId=id,
            sourceImageSetId=found["imageSetId"],
            copyImageSetInformation={"sourceImageSet": {"latestVersionId": "3"}},
        )["destinationImageSetProperties"]
        documents = []
        for of in (found, copy):
            answer = client.get_image_set_metadata(datastoreId=id, imageSetId=of["imageSetId"])
            documents.append(json.loads(gzip.decompress(answer["imageSetMetadataBlob"].read())))
        base = f"{store.path(str(files[0].StudyInstanceUID))}/series/{series}"
        for path, accept in (("/metadata", "application/dicom+json"), ("/thumbnail", "image/jpeg")):
            answer = server.send(server.signed("GET", base + path, headers={"accept": accept}))
            assert answer.status == 200
        (hit,) = json.loads(server.send(server.signed("GET", f"{store.path()}?PatientID=SEARCHED-ID")).body)
        assert hit["00100010"]["Value"] == [{"Alphabetic": SEARCHED["PatientName"]}]
        again = client.get_image_set_metadata(datastoreId=id, imageSetId=found["imageSetId"], versionId="1")
        assert HIDDEN["PatientComments"].encode() in gzip.decompress(again["imageSetMetadataBlob"].read())
        _import(server, id)
        while_running = [path.read_bytes() for path in data.glob("lightwell.db*")]
    yield Filled(data, id, documents, while_running, server.out + server.err)


def test_whoever_may_read_it_is_shown_all(filled: Filled) -> None:
    for document in filled.documents:
        text = json.dumps(document)
        shown = HIDDEN | SEARCHED | EDITED | {"ImageComments": "a comment on this image"}
        assert [value for value in shown.values() if value not in text] == []
        assert "an edited image" in text


def test_only_what_searches_need_is_readable_on_the_disk(filled: Filled) -> None:
    hidden = [value.encode() for value in (*HIDDEN.values(), *EDITED.values(), "an edited image")]
    hidden += [PRIVATE, PRIVATE[8:24]]
    places: dict[str, set[str]] = {}
    for path in filled.data.rglob("*"):
        if path.is_file() and "buckets" not in path.relative_to(filled.data).parts:
            content = path.read_bytes()
            assert [value for value in hidden if value in content or value.upper() in content] == [], path
            assert not re.search(rb"\x1f\x8b\x08.{7}", content[16:40], re.DOTALL), path
            for keyword, value in SEARCHED.items():
                if value.encode() in content:
                    places.setdefault(path.name.partition("-")[0].removesuffix("-wal"), set()).add(keyword)
    # The search columns, and the patient's ID in the audit trail, which tells who saw whom.
    assert set(places.pop("lightwell.db")) == set(SEARCHED)
    assert set().union(*places.values()) <= {"PatientID"}, places
    # Compressed values would hide from this search.
    stores = open_stores(Settings(data=filled.data, encryption="always"))
    with stores.db.read() as conn:
        for column in (
            *(tables.record.c.fragment_z, tables.record.c.dicom_z, tables.level_value.c.body_z),
            *(tables.dictionary.c.bytes, tables.level.c.edits, tables.member.c.edits),
        ):
            values = conn.execute(select(column).where(column.is_not(None))).scalars().all()
            assert values and all(value.startswith(b"LWV") for value in values), column
    cached = [
        path for path in (filled.data / "documents").rglob("*") if path.is_file() and path.stat().st_size
    ]
    assert len(cached) >= 4 and all(path.read_bytes()[16:19] == b"LWV" for path in cached)
    stores.close()


def test_files_of_an_import_are_named_in_its_report_alone(filled: Filled) -> None:
    name = FILE_NAME.encode()
    kept = [
        path
        for path in filled.data.rglob("*")
        if path.is_file() and "buckets" not in path.relative_to(filled.data).parts
    ]
    assert [path for path in kept if name in path.read_bytes()] == []
    assert len(filled.running) >= 2 and not any(name in content for content in filled.running)
    assert [line for line in filled.log if FILE_NAME in line] == []


def _run(stores: Stores, statement: Update) -> None:
    stores.db.write(lambda conn: conn.execute(statement))


def test_values_that_were_exchanged_or_changed_are_found_and_never_served(filled: Filled) -> None:
    done = lightwell_here("data", "verify", "--all", data=filled.data, environ=ALWAYS)
    assert done.status == 0, done.out + done.err
    stores = open_stores(Settings(data=filled.data, encryption="always"))
    record, block = tables.record, tables.level_value
    with stores.db.read() as conn:
        of_import = tables.image_set.c.origin == "import"
        by_age = select(tables.image_set.c.key).where(of_import).order_by(tables.image_set.c.created_at)
        found = conn.execute(by_age).scalars().all()[0]
        of_set = select(tables.member.c.record).where(tables.member.c.image_set == found)
        first, second, *_ = conn.execute(select(record).where(record.c.key.in_(of_set))).all()
        body = conn.execute(select(block).where(block.c.key == first.patient_value)).one()
    of_first, of_body = update(record).where(record.c.key == first.key), update(block)
    flipped = body.body_z[:-1] + bytes([body.body_z[-1] ^ 1])
    changes = {
        "fragment_z": (of_first, second.fragment_z, first.fragment_z),
        "dicom_z": (of_first, second.dicom_z, first.dicom_z),
        "body_z": (of_body.where(block.c.key == body.key), flipped, body.body_z),
    }
    for name, (statement, wrong, right) in changes.items():
        _run(stores, statement.values({name: wrong}))
        with stores.db.read() as conn:
            held = integrity.records(conn, first.pack)
            shared = integrity.bodies(conn, held)
            bad = [one.key for one in held if b"" in (one.fragment_z, one.dicom_z)]
            assert bad == ([first.key] if name != "body_z" else []), name
            assert (name == "body_z") == (b"" in shared.levels.values())
            with pytest.raises(DamagedError):
                list(native_instances.members(conn, found, 1))
                list(dicom_json_instances.batches(conn, found, 1))
                level_bodies(conn, [body.key])
        _run(stores, statement.values({name: right}))
    stores.close()
