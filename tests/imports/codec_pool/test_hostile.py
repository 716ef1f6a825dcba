"""One bad, huge or hostile file never stops the others: each has its line, and the rest is imported."""

from __future__ import annotations

import gzip
import json
import os
import random
import string
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from lightwell.codec_pool import messages, process
from lightwell.operations.get_image_set_metadata import get_image_set_metadata
from lightwell.stores.db import tables
from lightwell.wire import shapes
from tests.imports.codec_pool.sabotage import hang_at, hurry_at
from tests.support import invariants
from tests.support.ct_files import ct, write, write_series
from tests.support.imports import Importing
from tests.unit.imaging.headers import EXPLICIT, IMPLICIT, element, image, item

VIDEO = "1.2.840.10008.1.2.4.102"


def _bytes(tmp_path: Path) -> bytes:
    return write(tmp_path / "made" / "one.dcm", ct(77)).read_bytes()


def test_imports_what_is_good_beside_truncated_files(sqlite: Importing, tmp_path: Path) -> None:
    whole = _bytes(tmp_path)
    write_series(sqlite.input, 3)
    for end in range(0, len(whole), 100):
        (sqlite.input / f"cut-{end:05}.dcm").write_bytes(whole[:end])
    report = sqlite.run()
    manifest = report.manifest
    names = {line["inputFile"] for line in report.success}
    assert {"0001.dcm", "0002.dcm", "0003.dcm"} <= names
    assert manifest["numberOfFilesWithServerError"] == 0
    assert manifest["numberOfScannedFiles"] == 3 + len(range(0, len(whole), 100))
    invariants.check(sqlite.stores)


@pytest.mark.slow
def test_survives_every_corrupted_length(sqlite: Importing, tmp_path: Path) -> None:
    whole = bytearray(_bytes(tmp_path))
    write_series(sqlite.input, 2)
    count = 0
    for place in range(132, len(whole) - 520):
        for vr in (b"UI", b"SH", b"LO", b"CS", b"US", b"IS", b"DA", b"PN", b"OW"):
            if whole.startswith(vr, place):
                broken = bytearray(whole)
                broken[place + 2 : place + 4] = struct.pack("<H", 0xFFF1)
                if vr == b"OW":
                    broken[place + 4 : place + 8] = struct.pack("<L", 0x7FFFFFF0)
                (sqlite.input / f"x-{count:04}.dcm").write_bytes(broken)
                count += 1
    report = sqlite.run()
    assert report.manifest["numberOfScannedFiles"] == count + 2
    assert report.manifest["numberOfFilesWithServerError"] == 0
    assert {"0001.dcm", "0002.dcm"} <= {line["inputFile"] for line in report.success}
    invariants.check(sqlite.stores)


def test_keeps_values_out_of_the_search_that_no_index_can_hold(server: Importing) -> None:
    chance = random.Random(7)
    noise = "".join(chance.choices(string.ascii_uppercase + string.digits, k=130_000))
    request = item(
        element(0x00400009, "SH", noise[:600], form="implicit"),
        element(0x00401001, "SH", "R1", form="implicit"),
    )
    long = image(
        element(0x00080060, "CS", noise[:20_000], form="implicit"),
        element(0x00080090, "PN", noise, form="implicit"),
        element(0x00100020, "LO", "A\0B", form="implicit"),
        element(0x00400275, "SQ", request, form="implicit"),
        syntax=IMPLICIT,
        form="implicit",
    )
    (server.input / "long.dcm").write_bytes(long)
    no_class = image(
        element(0x00080016, "UI", noise[:300], form="implicit"), syntax=IMPLICIT, form="implicit"
    )
    (server.input / "class.dcm").write_bytes(no_class)
    write(server.input / "good.dcm", ct(1))
    report = server.run()
    assert report.messages() == {"class.dcm": "SOPClassUID is 300 characters long, at most 256 are allowed"}
    (warned,) = report.warning
    assert {w["type"] for w in warned["importResponse"]["warnings"]} == {"InvalidDicomValueLength"}
    made = {line["inputFile"]: line["importResponse"]["imageSetId"] for line in report.success}
    assert made.keys() == {"long.dcm", "good.dcm"}
    whole = shapes.GetImageSetMetadataRequest(datastore_id=server.datastore, image_set_id=made["long.dcm"])
    blob = get_image_set_metadata(server.context, whole).image_set_metadata_blob
    study = json.loads(gzip.decompress(blob))["Study"]
    assert study["DICOM"]["ReferringPhysicianName"] == noise
    (series,) = study["Series"].values()
    assert series["DICOM"]["Modality"] == noise[:20_000]
    with server.stores.db.read() as conn:
        t = tables.image_set.c
        found = select(tables.image_set).where(t.referring_physician_name.is_(None), t.modality.is_(None))
        row = conn.execute(found).one()
    assert json.loads(row.requests) == [[None, "R1"]]
    assert row.patient_id == "A\ufffdB"
    invariants.check(server.stores)


@pytest.mark.parametrize("syntax", [EXPLICIT, VIDEO])
def test_keeps_pixels_as_one_blob_whose_size_no_image_has(server: Importing, syntax: str) -> None:
    size = struct.pack("<Q", 2**53)
    huge = image(
        element(0x00280010, "UV", size),
        element(0x00280011, "UV", size),
        element(0x00280100, "US", b"\x08\0"),
        element(0x7FE00010, "OB", bytes(16)),
        syntax=syntax,
    )
    (server.input / "huge.dcm").write_bytes(huge)
    write(server.input / "good.dcm", ct(1))
    report = server.run()
    assert {line["inputFile"] for line in report.success} == {"huge.dcm", "good.dcm"}
    (line,) = report.warning
    assert [w["type"] for w in line["importResponse"]["warnings"]] == ["TranscodingException"]
    invariants.check(server.stores)


@pytest.mark.parametrize("more", ["\0x", '","x":"', "\r\nX: y", "1" * 64])
def test_fails_a_transfer_syntax_that_is_not_a_uid(sqlite: Importing, more: str) -> None:
    (sqlite.input / "odd.dcm").write_bytes(image(syntax=EXPLICIT + more))
    write(sqlite.input / "good.dcm", ct(1))
    report = sqlite.run()
    assert [line["inputFile"] for line in report.success] == ["good.dcm"]
    assert report.messages()["odd.dcm"].startswith(
        f"TransferSyntaxUID {(EXPLICIT + more)[:80]!r} is not a UID"
    )


def test_fails_a_declared_element_that_is_not_there(sqlite: Importing, tmp_path: Path) -> None:
    data = ct(5)
    del data.PixelData
    head = write(tmp_path / "h.dcm", data).read_bytes()
    tail = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 0x7FFFFFFE)
    write(sqlite.input / "good.dcm", ct(1))
    (sqlite.input / "huge.dcm").write_bytes(head + tail + b"\0" * 100)
    report = sqlite.run()
    assert "good.dcm" in {line["inputFile"] for line in report.success}
    assert report.manifest["numberOfFilesWithServerError"] == 0
    invariants.check(sqlite.stores)


def test_keeps_pixels_that_cannot_be_split_as_one_blob(sqlite: Importing) -> None:
    short = ct(1)
    short.PixelData = short.PixelData[:100]
    write(sqlite.input / "short.dcm", short)
    report = sqlite.run()
    assert report.manifest["numberOfImportedFiles"] == 1
    assert [line["inputFile"] for line in report.success] == ["short.dcm"]
    (line,) = report.warning
    assert line["importResponse"]["warnings"][0]["type"] in (
        "FramesExtractionFailure",
        "TranscodingException",
    )
    invariants.check(sqlite.stores)


def test_fails_the_file_that_needs_too_much_memory_and_no_other(sqlite: Importing) -> None:
    server = replace(sqlite, settings=replace(sqlite.settings, worker_memory=256 << 20))
    write_series(server.input, 3)
    huge = ct(9, Rows=20000, Columns=20000, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0)
    huge.PixelData = b""
    path = write(server.input / "0002-huge.dcm", huge)
    # The value is as long as declared, but a hole of the disk.
    content = path.read_bytes()
    place = content.rindex(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW"))
    with path.open("r+b") as stream:
        stream.seek(place + 8)
        stream.write(struct.pack("<L", 400_000_000))
        stream.truncate(place + 12 + 400_000_000)
    report = server.run()
    messages = report.messages()
    assert list(messages) == ["0002-huge.dcm"]
    assert "memory" in messages["0002-huge.dcm"]
    assert report.manifest["numberOfFilesWithServerError"] == 1
    assert {"0001.dcm", "0002.dcm", "0003.dcm"} <= {line["inputFile"] for line in report.success}
    invariants.check(server.stores)
    server.close()


class _Killer:
    """Kills the worker whenever it has announced one of some files."""

    def __init__(self, files: set[int], monkeypatch: pytest.MonkeyPatch, how: Callable[[int], None]) -> None:
        self.kills = 0
        receive = process.WorkerProcess.receive

        def watching(worker: process.WorkerProcess, timeout: float) -> object:
            answer = receive(worker, timeout)
            if isinstance(answer, messages.FileStarted) and answer.file in files:
                self.kills += 1
                how(worker.pid)
            return answer

        monkeypatch.setattr(process.WorkerProcess, "receive", watching)


def test_tries_a_file_again_after_its_worker_was_killed_once(
    sqlite: Importing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(sqlite.input, 12)
    hang_at({4}, tmp_path / "modules", monkeypatch)
    first = [True]

    def once(pid: int) -> None:
        if first:
            first.clear()
            monkeypatch.delenv("PYTHONPATH")  # the next worker reads it
            os.kill(pid, 9)

    killer = _Killer({4}, monkeypatch, once)
    report = sqlite.run()
    assert killer.kills == 2
    assert report.manifest["numberOfImportedFiles"] == 12
    invariants.check(sqlite.stores)


def test_gives_up_a_file_whose_worker_dies_again_and_imports_the_rest(
    sqlite: Importing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(sqlite.input, 12)
    hang_at({4, 7}, tmp_path / "modules", monkeypatch)  # so that the kill meets them
    _Killer({4, 7}, monkeypatch, lambda pid: os.kill(pid, 9))
    report = sqlite.run()
    assert report.manifest["numberOfImportedFiles"] == 10
    assert report.manifest["numberOfFilesWithServerError"] == 2
    assert set(report.messages()) == {"0005.dcm", "0008.dcm"}
    assert "SIGKILL" in report.messages()["0005.dcm"]
    assert report.failure[0]["exception"]["exceptionType"] == "InternalServerException"
    invariants.check(sqlite.stores)


def test_ends_a_file_that_takes_too_long(
    sqlite: Importing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = replace(sqlite, settings=replace(sqlite.settings, file_timeout=1))
    write_series(server.input, 4)
    hang_at({2}, tmp_path / "modules", monkeypatch)
    hurry_at({2}, monkeypatch)
    report = server.run()
    assert "longer than 1 seconds" in report.messages()["0003.dcm"]
    assert report.manifest["numberOfImportedFiles"] == 3
    invariants.check(server.stores)
    server.close()


def test_leaves_no_worker_behind(sqlite: Importing) -> None:
    write_series(sqlite.input, 1)
    sqlite.run()
    assert sqlite._engine is not None
    pids = sqlite._engine.worker_pids()
    assert pids
    sqlite.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not [t for t in threading.enumerate() if t.name.startswith("reader")]
    assert not list(sqlite.stores.spool.glob("worker-*"))


def test_waits_for_a_worker_that_cannot_start(sqlite: Importing, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(sqlite.input, 2)
    real = sys.executable
    monkeypatch.setattr(sys, "executable", "/bin/false")
    start = process.WorkerProcess.__init__
    tries = []

    def counting(worker: process.WorkerProcess, *args: object, **more: int) -> None:
        tries.append(1)
        if len(tries) == 3:
            monkeypatch.setattr(sys, "executable", real)
        start(worker, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(process.WorkerProcess, "__init__", counting)
    report = sqlite.run()
    assert report.manifest["numberOfImportedFiles"] == 2
    assert len(tries) == 3
