"""Frames of which one sample is another than came, and which decode all the same: no path gives them."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import UID
from sqlalchemy import select, update

from lightwell.domain.image_sets.frame_table import Frame, pack_entries, unpack_entries
from lightwell.imaging.pixels import htj2k, jpeg2000
from lightwell.stores.db import tables
from lightwell.stores.db.tables import frame_table, pixels
from lightwell.stores.objects.pack_objects import pack_name
from tests.dicomweb.support.javascript_clients import imported
from tests.dicomweb.support.sample_datastore import EXPLICIT, FRAMES, HTJ2K, JPEG, JPEG2000, SampleDatastore
from tests.dicomweb.support.stored_files import StoredFiles
from tests.support.ct_files import ROOT, ct, write
from tests.support.server import Reply, Server, environment, until

SINGLE = 'application/octet-stream; transfer-syntax="1.2.840.10008.1.2.1"'
SINGLE_AS_STORED = "image/jphc; transfer-syntax=*"
FILE = 'multipart/related; type="application/dicom"; transfer-syntax='
PICTURE = "image/png"

PATHS = [
    ("htj2k", "{instance}/frames/1", None),
    ("htj2k", "{instance}/frames/1", SINGLE),
    ("htj2k", "{instance}/frames/1", FRAMES + JPEG2000),
    ("htj2k", "{instance}/pixeldata", FRAMES + EXPLICIT),
    ("htj2k", "{study}/pixeldata", FRAMES + JPEG2000),
    ("htj2k", "{instance}", FILE + EXPLICIT),
    ("htj2k", "{instance}", FILE + JPEG2000),
    ("htj2k", "{series}", FILE + EXPLICIT),
    ("htj2k", "{study}", FILE + EXPLICIT),
    ("htj2k", "{study}", "application/zip"),
    ("htj2k", "{instance}/rendered", PICTURE),
    ("htj2k", "{instance}/frames/1/rendered", PICTURE),
    ("htj2k", "{series}/rendered", PICTURE),
    ("htj2k", "{study}/rendered", PICTURE),
    ("htj2k", "{instance}/thumbnail", None),
    ("htj2k", "{instance}/frames/1/thumbnail", None),
    ("htj2k", "{series}/thumbnail", None),
    ("htj2k", "{study}/thumbnail", None),
    ("htj2k", "{wado}&contentType=application/dicom", None),
    ("htj2k", "{wado}&contentType=image/jpeg", None),
    ("j2k", "{instance}/frames/1", None),
    ("j2k", "{instance}/pixeldata", FRAMES + EXPLICIT),
    ("j2k", "{instance}", FILE + EXPLICIT),
    ("j2k", "{instance}/rendered", PICTURE),
    ("j2k", "{instance}/thumbnail", None),
    ("kept", "{instance}/frames/1", None),
    ("kept", "{instance}", FILE + EXPLICIT),
    ("kept", "{instance}/rendered", PICTURE),
    ("jpeg", "{instance}/frames/1", FRAMES + EXPLICIT),
    ("jpeg", "{instance}/pixeldata", FRAMES + EXPLICIT),
    ("jpeg", "{instance}", FILE + EXPLICIT),
    ("jpeg", "{instance}", FILE + "*"),
    ("jpeg", "{instance}/rendered", PICTURE),
    ("jpeg", "{instance}/thumbnail", None),
    ("jpeg", "{wado}&contentType=image/jpeg", None),
    ("bits", "{instance}", FILE + EXPLICIT),
    ("bits", "{instance}/rendered", PICTURE),
    ("bits", "{instance}/thumbnail", None),
]


@pytest.fixture(scope="module")
def broken(sample: SampleDatastore) -> Iterator[dict[str, StoredFiles]]:
    """By the kind of its frames: an instance of a study of its own whose frame has one other sample."""
    server = sample.server
    stores = {
        format: server.client().create_datastore(
            datastoreName=f"broken-{number}", losslessStorageFormat=format
        )["datastoreId"]
        for number, format in enumerate(("HTJ2K", "JPEG_2000_LOSSLESS"))
    }
    found: dict[str, StoredFiles] = {}
    for number, (kind, data) in enumerate(_files().items()):
        store = stores["JPEG_2000_LOSSLESS" if kind in ("j2k", "kept") else "HTJ2K"]
        data.StudyInstanceUID = f"{ROOT}.9{number}"
        data.SeriesInstanceUID = f"{ROOT}.9{number}.1"
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.9{number}.1.1"
        write(server.data / "buckets" / "in-bucket" / f"broken-{kind}" / "1.dcm", data)
        imported(server, store, f"broken-{kind}/")
        found[kind] = StoredFiles(server, store, {kind: data})
        _break(server)
    yield found


def _files() -> dict[str, Any]:
    kept = ct(1, size=40)
    coded = imagecodecs.jpeg2k_encode(kept.pixel_array, codecformat="j2k", reversible=True)
    kept.PixelData = encapsulate([bytes(coded)])
    kept["PixelData"].is_undefined_length = True
    kept.file_meta.TransferSyntaxUID = UID(JPEG2000)
    bits = ct(1, size=12, BitsAllocated=1, BitsStored=1, HighBit=0, PixelRepresentation=0)
    bits.PixelData = bytes(range(18))
    return {
        "htj2k": ct(1, size=40),
        "j2k": ct(1, size=40),
        "kept": kept,
        "jpeg": pydicom.dcmread(str(get_testdata_file("SC_rgb_jpeg_dcmtk.dcm"))),
        "bits": bits,
    }


def _break(server: Server) -> None:
    """Change one sample of the frame of the newest pixels, which lies at the end of its pack then."""
    with server.database() as db:
        with db.read() as conn:
            key, pack, syntax = conn.execute(
                select(pixels.c.key, pixels.c.pack, pixels.c.stored_syntax)
                .join(tables.pack, tables.pack.c.key == pixels.c.pack)
                .order_by(tables.pack.c.created_at.desc())
                .limit(1)
            ).one()
            where = frame_table.c.pixels == key
            (frame,) = unpack_entries(conn.execute(select(frame_table.c.entries).where(where)).scalar_one())
        path = server.data / "objects" / pack_name(pack)
        whole = path.read_bytes()
        data, head = _changed(whole[frame.offset : frame.offset + frame.length], frame, syntax)
        path.write_bytes(whole + data)
        entries = pack_entries([replace(frame, offset=len(whole), length=len(data), head=head)])
        db.write(
            lambda conn: conn.execute(update(frame_table).where(where).values(entries=entries, checks=None))
        )


def _changed(data: bytes, frame: Frame, syntax: str) -> tuple[bytes, int]:
    """A frame with one sample changed by the least, coded like the one that was stored."""
    if syntax == EXPLICIT:
        return bytes([data[0] ^ 1]) + data[1:], 0
    if syntax == JPEG:
        samples = np.array(imagecodecs.jpeg8_decode(data))
        samples[0, 0, 0] ^= 1
        return bytes(imagecodecs.jpeg8_encode(samples, 100)), 0
    samples = np.array(imagecodecs.jpeg2k_decode(data[frame.head :], planar=False))
    samples[0, 0] ^= 1
    if syntax == HTJ2K:
        return htj2k.encode(samples, "MONOCHROME2")
    assert syntax == JPEG2000
    return jpeg2000.encode(samples, "MONOCHROME2"), 0


@pytest.mark.parametrize(("kind", "path", "accept"), PATHS)
def test_gives_no_sample_that_is_not_the_one_that_came(
    broken: dict[str, StoredFiles], kind: str, path: str, accept: str | None
) -> None:
    stored = broken[kind]
    data = stored.files[kind]
    wado = f"?requestType=WADO&studyUID={data.StudyInstanceUID}&seriesUID={data.SeriesInstanceUID}"
    places = {
        "study": stored.study(kind),
        "series": stored.series(kind),
        "instance": stored.instance(kind),
        "wado": f"{wado}&objectUID={data.SOPInstanceUID}",
    }
    logged = len(stored.server.err)
    reply = stored.get(path.format(**places), accept)
    assert (reply.status, reply.headers.get("x-amzn-errortype")) == (500, "InternalServerException")
    assert b"lightwell data verify" in reply.body
    _wait_for_log(stored.server, logged)


def _wait_for_log(server: Server, first: int) -> None:
    """Until the log says, from its line ``first`` on, what a request has met."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if any("lightwell data verify" in line for line in server.err[first:]):
            return
        time.sleep(0.05)
    raise AssertionError("\n".join(server.err[-20:]))


def test_exports_what_is_whole_and_names_what_is_not(broken: dict[str, StoredFiles], tmp_path: Path) -> None:
    server, store = broken["htj2k"].server, broken["htj2k"].datastore
    write(server.data / "buckets" / "in-bucket" / "whole" / "1.dcm", ct(1, study="81", size=16))
    imported(server, store, "whole/")
    flags = ("--datastore", store, "--data", str(server.data))
    done = subprocess.run(
        [sys.executable, "-m", "lightwell.cli.main", "export", str(tmp_path), *flags],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(),
    )
    assert done.returncode == 1
    for kind in ("htj2k", "jpeg", "bits"):
        uid = broken[kind].files[kind].SOPInstanceUID
        (line,) = [line for line in done.stderr.splitlines() if f"{uid}:" in line]
        assert "lightwell data verify" in line
    (file,) = tmp_path.rglob("*.dcm")
    assert pydicom.dcmread(file).pixel_array.tobytes() == ct(1, study="81", size=16).PixelData


# Stored bytes ---------------------------------------------------------------------------------------------

AS_STORED = [
    ("htj2k", "{instance}/frames/1", FRAMES + "*", {}),
    ("htj2k", "{instance}/frames/1", SINGLE_AS_STORED, {}),
    ("htj2k", "{instance}/frames/1", SINGLE_AS_STORED, {"range": "bytes=-9"}),
    ("htj2k", "{instance}/frames/1", SINGLE, {}),
    ("htj2k", "{instance}/pixeldata", FRAMES + "*", {}),
    ("htj2k", "{instance}", FILE + "*", {}),
    ("htj2k", "{series}", FILE + HTJ2K, {}),
    ("htj2k", "{instance}", FILE + EXPLICIT, {}),
    ("htj2k", "{instance}/rendered", PICTURE, {}),
    ("htj2k", "{instance}/thumbnail", None, {}),
    ("htj2k", "{wado}&contentType=application/dicom", None, {}),
    ("j2k", "{instance}/frames/1", FRAMES + "*", {}),
    ("j2k", "{instance}", FILE + "*", {}),
    ("jpeg", "{instance}/frames/1", FRAMES + "*", {}),
    ("jpeg", "{instance}", FILE + "*", {}),
    ("bits", "{instance}/frames/1", FRAMES + "*", {}),
    ("bits", "{instance}", FILE + EXPLICIT, {}),
    ("htj2k", "{series}", "application/zip; transfer-syntax=*", {}),
]


@pytest.fixture(scope="module")
def flipped(broken: dict[str, StoredFiles], sample: SampleDatastore) -> Iterator[dict[str, StoredFiles]]:
    """As ``broken``, but the bytes are damaged where they lie: each frame has one bit that came otherwise."""
    server = sample.server
    found = {}
    for number, kind in enumerate(("htj2k", "j2k", "jpeg", "bits")):
        data, store = _files()[kind], broken[kind].datastore
        data.StudyInstanceUID = f"{ROOT}.8{number}"
        data.SeriesInstanceUID = f"{ROOT}.8{number}.1"
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.8{number}.1.1"
        write(server.data / "buckets" / "in-bucket" / f"flipped-{kind}" / "1.dcm", data)
        imported(server, store, f"flipped-{kind}/")
        found[kind] = StoredFiles(server, store, {kind: data})
        path, frame = _newest_frame(server)
        whole = bytearray(path.read_bytes())
        whole[frame.offset + frame.length // 2] ^= 4
        path.write_bytes(whole)
    yield found


def _newest_frame(server: Server) -> tuple[Path, Frame]:
    with server.database() as db, db.read() as conn:
        pack, entries = conn.execute(
            select(pixels.c.pack, frame_table.c.entries)
            .join(frame_table, frame_table.c.pixels == pixels.c.key)
            .join(tables.pack, tables.pack.c.key == pixels.c.pack)
            .order_by(tables.pack.c.created_at.desc())
            .limit(1)
        ).one()
    return server.data / "objects" / pack_name(pack), unpack_entries(entries)[0]


@pytest.mark.parametrize(("kind", "path", "accept", "headers"), AS_STORED)
def test_gives_no_byte_of_a_frame_that_is_not_the_stored_one(
    flipped: dict[str, StoredFiles], kind: str, path: str, accept: str | None, headers: dict[str, str]
) -> None:
    stored = flipped[kind]
    data = stored.files[kind]
    wado = f"?requestType=WADO&studyUID={data.StudyInstanceUID}&seriesUID={data.SeriesInstanceUID}"
    places = {
        "series": stored.series(kind),
        "instance": stored.instance(kind),
        "wado": f"{wado}&objectUID={data.SOPInstanceUID}",
    }
    reply = stored.get(path.format(**places), accept, **headers)
    assert (reply.status, reply.headers.get("x-amzn-errortype")) == (500, "InternalServerException")
    assert b"lightwell data verify" in reply.body


@pytest.mark.parametrize("kind", ["htj2k", "j2k", "jpeg", "bits"])
def test_gives_no_native_frame_that_is_not_the_stored_one(flipped: dict[str, StoredFiles], kind: str) -> None:
    server, store = flipped[kind].server, flipped[kind].datastore
    client = server.client()
    uid = flipped[kind].files[kind].StudyInstanceUID
    criteria = {"filters": [{"values": [{"DICOMStudyInstanceUID": uid}], "operator": "EQUAL"}]}
    found = client.search_image_sets(datastoreId=store, searchCriteria=criteria)
    image_set = found["imageSetsMetadataSummaries"][0]["imageSetId"]
    blob = client.get_image_set_metadata(datastoreId=store, imageSetId=image_set)["imageSetMetadataBlob"]
    (frame,) = re.findall(rb'"ImageFrames":\[\{"ID":"([0-9a-f]{32})"', gzip.decompress(blob.read()))
    logged = len(server.err)
    with pytest.raises(client.exceptions.InternalServerException, match="bytes of a frame are damaged"):
        client.get_image_frame(
            datastoreId=store, imageSetId=image_set, imageFrameInformation={"imageFrameId": frame.decode()}
        )
    _wait_for_log(server, logged)
    line = next(line for line in server.err[logged:] if "lightwell data verify" in line)
    assert flipped[kind].files[kind].SOPInstanceUID in line and ".pack" in line
    metrics = urllib.request.urlopen(f"{server.url}/metrics").read().decode()
    (counted,) = re.findall(r'lightwell_damaged_reads_total\{of="frame"\} (\d+)', metrics)
    assert int(counted) > 0


def test_tells_of_a_damaged_frame_once(flipped: dict[str, StoredFiles]) -> None:
    stored = flipped["jpeg"]
    for _ in range(30):
        assert stored.get(f"{stored.instance('jpeg')}/frames/1", FRAMES + "*").status == 500
    until(lambda: bool(_told(stored)))
    told = _told(stored)
    assert len({event["detail"]["place"] for event in told}) == len(told)
    assert {event["source"] for event in told} == {"lightwell"}
    for _ in range(30):
        assert stored.get(f"{stored.instance('jpeg')}/frames/1", FRAMES + "*").status == 500
    with stored.server.database() as db, db.read() as conn:
        places = list(conn.execute(select(tables.integrity_fault.c.place)).scalars())
    assert {event["detail"]["place"] for event in _told(stored)} <= set(places)
    assert len(places) == len(set(places))


def _told(stored: StoredFiles) -> list[dict[str, Any]]:
    with stored.server.database() as db, db.read() as conn:
        events = [json.loads(event) for event in conn.execute(select(tables.outbox.c.event)).scalars()]
    return [
        event
        for event in events
        if event["detail-type"] == "Data Integrity Fault"
        and event["detail"]["datastoreId"] == stored.datastore
    ]


# Rows that name what is another's -------------------------------------------------------------------------


def test_gives_nothing_of_another_data_store(sample: SampleDatastore) -> None:
    """A row that is made to point at the record, pixels or patient of another data store."""
    server, made = sample.server, {}
    for number, name in enumerate(("OURS", "THEIRS")):
        store = server.client().create_datastore(datastoreName=f"rows-{number}")["datastoreId"]
        data = ct(1, study=f"7{number}", size=40, PatientID=name)
        write(server.data / "buckets" / "in-bucket" / f"rows-{number}" / "1.dcm", data)
        imported(server, store, f"rows-{number}/")
        made[name] = StoredFiles(server, store, {"htj2k": data})
    ours, theirs = (_record_of(each) for each in made.values())
    member, level = tables.member, tables.level
    with server.database() as db, db.read() as conn:
        key = conn.execute(select(member.c.image_set).where(member.c.record == ours.key)).scalar_one()
    of_patient = update(level).where(level.c.image_set == key, level.c.level == 0)
    pointers = {
        "record": update(member).where(member.c.image_set == key).values(record=theirs.key),
        "pixels": update(member).where(member.c.image_set == key).values(pixels=theirs.pixels),
        "patient": of_patient.values(base=theirs.patient_value),
    }
    stored, secrets = made["OURS"], (b"THEIRS", made["THEIRS"].files["htj2k"].SOPInstanceUID.encode())
    for name, pointing in pointers.items():
        table = level if name == "patient" else member
        own = [table.c.image_set == key, *([level.c.level == 0] if name == "patient" else [])]
        with server.database() as db:
            with db.read() as conn:
                row = dict(conn.execute(select(table).where(*own)).mappings().one())
            db.write(partial(_execute, pointing))
            replies = _every_way(stored)
            db.write(partial(_execute, update(table).where(*own).values(row)))
        refused = {way for way, reply in replies.items() if reply.status == 500}
        assert not any(secret in reply.body for reply in replies.values() for secret in secrets), name
        assert all(b"lightwell data verify" in replies[way].body for way in refused)
        files = {way for way in replies if (way[1] or "").startswith(FILE)}
        assert {("metadata", None), *files} <= refused, name
        # What shows pixels only reads no patient, and DICOM JSON no pixels.
        assert refused == replies.keys() or (
            name == "patient" or replies.keys() - refused == {("{instance}/metadata", None)}
        )
    assert {reply.status for reply in _every_way(stored).values()} == {200}
    until(lambda: len(_told(stored)) >= len(pointers))
    metrics = urllib.request.urlopen(f"{server.url}/metrics").read().decode()
    assert int(re.findall(r'lightwell_damaged_reads_total\{of="database"\} (\d+)', metrics)[0]) > 0


def _execute(statement: Any, conn: Any) -> None:
    conn.execute(statement)


def _record_of(stored: StoredFiles) -> Any:
    of_store = tables.record.join(tables.datastore, tables.datastore.c.key == tables.record.c.datastore)
    query = select(tables.record).select_from(of_store).where(tables.datastore.c.id == stored.datastore)
    with stored.server.database() as db, db.read() as conn:
        return conn.execute(query).one()


def _every_way(stored: StoredFiles) -> dict[tuple[str, str | None], Reply]:
    """The replies to a request for each of `PATHS`, and for metadata."""
    data = stored.files["htj2k"]
    places = {
        "study": stored.study("htj2k"),
        "series": stored.series("htj2k"),
        "instance": stored.instance("htj2k"),
        "wado": f"?requestType=WADO&studyUID={data.StudyInstanceUID}&seriesUID={data.SeriesInstanceUID}"
        f"&objectUID={data.SOPInstanceUID}",
    }
    found = {
        (path, accept): stored.get(path.format(**places), accept)
        for kind, path, accept in PATHS
        if kind == "htj2k"
    }
    found["{instance}/metadata", None] = stored.get(f"{places['instance']}/metadata")
    with stored.server.database() as db, db.read() as conn:
        of = tables.image_set.c.study_instance_uid == data.StudyInstanceUID
        id = conn.execute(select(tables.image_set.c.id).where(of)).scalar_one()
    found["metadata", None] = stored.get(f"/imageSet/{id}/getImageSetMetadata", method="POST")
    return found
