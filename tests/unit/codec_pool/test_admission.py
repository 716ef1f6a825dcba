"""What the engine takes from a codec worker that a file may have taken over: nothing that it cannot know."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from lightwell.codec_pool import slot
from lightwell.codec_pool.admission import Admission
from lightwell.codec_pool.answers.forged import ForgedAnswerError
from lightwell.codec_pool.failures import Cause
from lightwell.codec_pool.messages import (
    CheckFrames,
    ChunkFailed,
    ChunkRead,
    Configured,
    ExistingFound,
    FileRead,
    FileRefused,
    FileStarted,
    FindExisting,
    FromWorker,
    InputInspected,
    InspectInput,
    OpenPacks,
    PacksOpened,
    Perform,
    Performed,
    ReadChunk,
    RecordsChecked,
    ToWorker,
)
from lightwell.codec_pool.requests import Ping, Pong, RequestError, Stored
from lightwell.codec_pool.slot import WorkerEnded, WorkerSlot
from lightwell.domain.image_sets.frame_checks import FrameChecks, pack_checks
from lightwell.domain.image_sets.frame_table import Frame, pack_entries
from lightwell.domain.imports.existing_instances import ExistingInstance
from lightwell.domain.imports.jobs import InputFile, pack_files
from lightwell.domain.imports.records import Dependencies, Failure, NewRecord, StoredPixels
from lightwell.domain.integrity import IntegrityFault
from lightwell.sealing.segments import Sealer, grant_of
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.db.compression import compress
from lightwell.stores.objects.pack_objects import OpenPack

PACK, SIZE = 9, 100
BODIES = [b'{"Patient":{}}', b'{"Study":{}}', b'{"Series":{}}']
HASHES = [hashlib.sha256(bytes((level,)) + body).digest() for level, body in enumerate(BODIES)]
IMAGE = (
    b'{"rows":4,"columns":4,"samples":1,"bits_allocated":8,"bits_stored":8,"signed":false,'
    b'"photometric":"MONOCHROME2","planar":0,"frames":1,"frames_declared":false,"pixel_keyword":"PixelData",'
    b'"original_syntax":"1.2.840.10008.1.2.1"}'
)
PIXELS = StoredPixels(
    key=1000,
    pack=PACK,
    stored_syntax="1.2.840.10008.1.2.4.201",
    frame_count=1,
    checksum_type="FULL",
    width=4,
    height=4,
    image=IMAGE,
    decoder="",
    pages=[pack_entries([Frame(40, 60, 0, 7, None, None)])],
    checks=[pack_checks([FrameChecks(7)])],
)
RECORD = NewRecord(
    file=3,
    input_file="a.dcm",
    key=1000,
    study_instance_uid="1.1",
    series_instance_uid="1.2",
    sop_instance_uid="1.3",
    sop_class_uid=None,
    instance_number=None,
    grouping='["1.1","1.2","","","","",""]',
    patient=HASHES[0],
    study=HASHES[1],
    series=HASHES[2],
    fragment_z=compress(b"{}"),
    dictionary=None,
    dicom_z=compress(b"{}"),
    dicom_dictionary=77,
    pack=PACK,
    original_offset=0,
    original_length=40,
    override_z=None,
    warnings=None,
    pixels=PIXELS,
)
GIVEN = Dependencies(
    dict(zip(HASHES, map(compress, BODIES), strict=True)), {77: b"{}"}, {PACK: (SIZE, 0xFFFFFFFF)}
)
EXISTING = ExistingInstance(50, 8, 16, None, HASHES, b"", None, replace(PIXELS, key=500, pack=51))
# The head of a zstd frame, which states a thousand million bytes.
INFLATES = b"\x28\xb5\x2f\xfd\xe0" + (10**9).to_bytes(8, "little")


def chunk(task: int = 5, *numbers: int) -> ReadChunk:
    files = [InputFile(n, f"{chr(97 + n - 3)}.dcm", None, 1) for n in numbers or (3,)]
    return ReadChunk(
        task, "", "HTJ2K", pack_files(files), files[0].number, [], [], [OpenPack(PACK, b"")], [], False
    )


def admission(*told: ToWorker) -> Admission:
    made = Admission({PACK: SIZE, 10: SIZE, 50: SIZE}.get)
    for message in told or (chunk(),):
        made.told(message)
    return made


def refusal(made: Admission, *said: FromWorker) -> ForgedAnswerError:
    """All but the last are admitted."""
    for message in said[:-1]:
        made.admit(message)
    with pytest.raises(ForgedAnswerError) as forged:
        made.admit(said[-1])
    return forged.value


def test_admits_what_a_worker_of_ours_says() -> None:
    made = admission(chunk(5, 3, 4), chunk(6, 3), Perform(7, Ping()))
    made.admit(FileStarted(5, 3))
    made.admit(OpenPacks(5, 2))
    made.told(PacksOpened([OpenPack(10, b""), OpenPack(11, b"")]))
    made.admit(FindExisting(5, "1", "2", "3", []))
    made.told(ExistingFound([EXISTING], []))
    pixels = replace(PIXELS, pack=10, pages=[pack_entries([Frame(0, SIZE, 0, 7, None, None)])])
    made.admit(FileRead(5, replace(RECORD, pixels=pixels)))
    made.admit(FileStarted(5, 4))
    second = replace(RECORD, file=4, input_file="b.dcm", key=1001, pixels=None, shared_pixels=500)
    made.admit(FileRead(5, replace(second, pack=50, original_offset=8, original_length=16)))
    made.admit(FileStarted(5, None))
    made.admit(FileStarted(6, 3))  # the next chunk, while the bytes of this one become durable
    made.admit(ChunkRead(5, replace(GIVEN, packs={PACK: (SIZE, 1), 10: (SIZE, 2)})))
    made.admit(FileRefused(6, Failure(3, "a.dcm", "ValidationException", "no")))
    made.admit(ChunkFailed(6, Cause.STORAGE, "no"))
    made.admit(FileStarted(7, 0))
    made.admit(Performed(7, Pong(1)))


RECORDS: dict[str, dict[str, Any]] = {
    "another file": {"file": 4},
    "a file beyond the chunk": {"file": -1},
    "another name": {"input_file": "b.dcm"},
    "no key": {"key": 0, "pixels": None},
    "a key that no row has": {"key": 1 << 63, "pixels": None},
    "the key of another record": {"key": 1001, "pixels": None},
    "the pack of another patient": {"pack": 50},
    "an original at another place of an offered pack": {"pack": 50, "original_offset": 9},
    "pixels of another record": {"pixels": replace(PIXELS, key=500)},
    "frames in the pack of another patient": {"pixels": replace(PIXELS, pack=51)},
    "shared pixels that it was not offered": {"pixels": None, "shared_pixels": 501},
    "pixels of its own and shared ones": {"shared_pixels": 500},
    "an override": {"override_z": compress(b"{}")},
    "attributes that inflate without end": {"fragment_z": INFLATES},
    "DICOM JSON without a size": {"dicom_z": b"\x28\xb5\x2f\xfd\x00\x58\x01\x00\x00"},
    "attributes that are no zstd": {"fragment_z": b"{}"},
    "grouping values that are none": {"grouping": '["1.1"]'},
    "grouping values that are no text": {"grouping": "[1,2,3,4,5,6,7]"},
    "no frame table": {"pixels": replace(PIXELS, pages=[], checks=[])},
    "a frame table that ends in the middle": {"pixels": replace(PIXELS, pages=[PIXELS.pages[0] + b"x"])},
    "grouping values without end": {"grouping": "[" * 200_000},
    "a page that is not full before the last": {
        "pixels": replace(PIXELS, pages=PIXELS.pages * 2, checks=PIXELS.checks * 2, frame_count=2)
    },
    "a blob whose description is no object": {"pixels": replace(PIXELS, frame_count=0, image=b"1")},
    "an image that is as wide as nothing": {"pixels": replace(PIXELS, width=1 << 31)},
    "more frames than entries": {"pixels": replace(PIXELS, frame_count=2)},
    "frames without checks": {"pixels": replace(PIXELS, checks=[None])},
    "checks of another number of frames": {
        "pixels": replace(PIXELS, checks=[pack_checks([FrameChecks(7)] * 2)])
    },
    "an image without rows": {"pixels": replace(PIXELS, image=IMAGE.replace(b'"rows":4,', b""))},
    "an image with a text for rows": {
        "pixels": replace(PIXELS, image=IMAGE.replace(b'"rows":4', b'"rows":"4"'))
    },
    "an image of a size that none has": {"pixels": replace(PIXELS, image=IMAGE.replace(b":4,", b":65536,"))},
}


@pytest.mark.parametrize("forged", RECORDS.values(), ids=RECORDS)
def test_refuses_a_record_that_names_what_is_not_its_own(forged: dict[str, Any]) -> None:
    made = admission(chunk(5, 2, 3, 4))
    made.admit(FileStarted(5, 2))
    made.admit(FileRead(5, replace(RECORD, file=2, input_file="`.dcm", key=1001, pixels=None)))
    made.admit(FileStarted(5, 3))
    made.admit(FindExisting(5, "1", "2", "3", []))
    made.told(ExistingFound([EXISTING], []))
    assert refusal(made, FileRead(5, replace(RECORD, **forged))).task == 5


def _ended(record: NewRecord, given: Dependencies) -> Sequence[FromWorker]:
    return FileStarted(5, 3), FileRead(5, record), FileStarted(5, None), ChunkRead(5, given)


def frame(offset: int, length: int) -> NewRecord:
    pages = [pack_entries([Frame(offset, length, 0, 7, None, None)])]
    return replace(RECORD, pixels=replace(PIXELS, pages=pages))


ENDS: dict[str, tuple[NewRecord, Dependencies]] = {
    "an original beyond its pack": (replace(RECORD, original_length=SIZE + 1), GIVEN),
    "an original before its pack": (replace(RECORD, original_offset=-1), GIVEN),
    "a frame beyond its pack": (frame(41, 60), GIVEN),
    "a frame beyond everything": (frame((1 << 64) - 1, 60), GIVEN),
    "a pack that is not durable": (RECORD, replace(GIVEN, packs={})),
    "a pack of another size": (RECORD, replace(GIVEN, packs={PACK: (SIZE + 1, 0)})),
    "a checksum that is none": (RECORD, replace(GIVEN, packs={PACK: (SIZE, 1 << 32)})),
    "a pack of somebody else": (RECORD, replace(GIVEN, packs={**GIVEN.packs, 50: (SIZE, 0)})),
    "the dictionary of another series": (RECORD, replace(GIVEN, dictionaries={})),
    "a dictionary without end": (RECORD, replace(GIVEN, dictionaries={77: bytes(1 << 20)})),
    "a dictionary without a key": (RECORD, replace(GIVEN, dictionaries={77: b"{}", 0: b"{}"})),
    "no patient": (RECORD, replace(GIVEN, level_values=dict(list(GIVEN.level_values.items())[1:]))),
    "another patient under this hash": (
        RECORD,
        replace(GIVEN, level_values={**GIVEN.level_values, HASHES[0]: compress(b'{"Patient":{"ID":"2"}}')}),
    ),
    "a study in the place of the patient": (replace(RECORD, patient=HASHES[1]), GIVEN),
    "a patient that inflates without end": (
        RECORD,
        replace(GIVEN, level_values={**GIVEN.level_values, HASHES[0]: INFLATES}),
    ),
    "a patient that is damaged": (
        RECORD,
        replace(GIVEN, level_values={**GIVEN.level_values, HASHES[0]: compress(BODIES[0])[:-2]}),
    ),
    "a patient that is no zstd": (
        RECORD,
        replace(GIVEN, level_values={**GIVEN.level_values, HASHES[0]: b"{}"}),
    ),
}


@pytest.mark.parametrize("forged", ENDS.values(), ids=ENDS)
def test_refuses_a_chunk_whose_records_do_not_fit_what_comes_with_them(
    forged: tuple[NewRecord, Dependencies],
) -> None:
    honest = admission()
    for message in _ended(RECORD, GIVEN):
        honest.admit(message)
    assert refusal(admission(), *_ended(*forged)).task == 5


REFUSED = Failure(3, "a.dcm", "ValidationException", "no")
CONVERSATIONS: dict[str, list[FromWorker]] = {
    "a task that there is not": [FileStarted(8, 3)],
    "the record of a task that there is not": [FileRead(8, RECORD)],
    "that it is ready": [Configured()],
    "a record of a file that it did not announce": [FileRead(5, RECORD)],
    "a file that is not in the chunk": [FileStarted(5, 2)],
    "a file twice": [FileStarted(5, 3), FileRefused(5, REFUSED), FileStarted(5, 3)],
    "two answers about one file": [FileStarted(5, 3), FileRefused(5, REFUSED), FileRead(5, RECORD)],
    "the next file before the answer": [FileStarted(5, 3), FileStarted(5, 4)],
    "the end before the files": [FileStarted(5, None)],
    "that all is durable before the end": [FileStarted(5, 3), ChunkRead(5, GIVEN)],
    "a file of the next chunk, out of turn": [FileStarted(6, 3)],
    "a kind of failure": [FileStarted(5, 3), FileRefused(5, replace(REFUSED, exception_type="None"))],
    "an endless failure": [FileStarted(5, 3), FileRefused(5, replace(REFUSED, message="x" * 20_000))],
    "packs without a file": [OpenPacks(5, 1)],
    "no pack": [FileStarted(5, 3), OpenPacks(5, 0)],
    "packs without end": [FileStarted(5, 3), OpenPacks(5, 17)],
    "instances without a file": [FindExisting(5, "1", "2", "3", [])],
    "instances again and again": [FileStarted(5, 3), *[FindExisting(5, "1", "2", "3", [])] * 2],
    "a reply to what was no request": [Performed(5, Pong(1))],
    "checks of what was no check": [RecordsChecked(5, [], 0)],
    "members of what was no zip file": [InputInspected(5, members=[("a", 1, 0)])],
    "a failure that pauses nothing": [ChunkFailed(5, Cause.NOT_STARTED, "no")],
    "another reply": [FileStarted(7, 0), Performed(7, Stored([]))],
    "a chunk instead of a reply": [ChunkRead(7, GIVEN)],
    "a second reply": [Performed(7, RequestError("input", "no")), Performed(7, Pong(1))],
    "files of a zip file": [InputInspected(11, files=[["a"]])],
    "members of a DICOMDIR": [InputInspected(13, members=[("a", 1, 0)])],
    "a page after the last": [InputInspected(11, is_last=True), InputInspected(11, is_last=True)],
    "a fault of what it was not asked": [RecordsChecked(12, [(0, IntegrityFault("no"))], 0)],
    "a place that it was not asked about": [FileStarted(12, 0)],
}


@pytest.mark.parametrize("said", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_refuses_what_it_was_not_asked(said: list[FromWorker]) -> None:
    inspections = (
        InspectInput(11, "zip", b"/f", "", far=False),
        InspectInput(13, "dicomdir", b"/f", "", far=False),
    )
    requests = Perform(7, Ping()), CheckFrames(12, [])
    refusal(admission(chunk(5, 3, 4), chunk(6, 3), *requests, *inspections), *said)


def test_bounds_how_many_packs_a_worker_opens() -> None:
    made = admission()
    made.admit(FileStarted(5, 3))
    made.admit(OpenPacks(5, 16))
    made.told(PacksOpened([OpenPack(key, b"") for key in range(100, 116)]))
    refusal(made, OpenPacks(5, 16))


class _Process:
    """A worker that says what the test has it say."""

    pid = 1

    def __init__(self, says: list[FromWorker]) -> None:
        self.says = says
        self.is_closed = False

    def send(self, message: object) -> None:
        assert not self.is_closed

    def receive(self, timeout: float) -> FromWorker | None:
        return self.says.pop(0) if self.says else None

    def pack_size(self, key: int) -> int | None:
        return SIZE

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[FromWorker]], tuple[WorkerSlot, _Process]]:
    """Starts a slot with a worker that says this, and tells it of tasks 5 and 6."""

    def start(says: list[FromWorker]) -> tuple[WorkerSlot, _Process]:
        process = _Process(says)
        monkeypatch.setattr(slot, "WorkerProcess", lambda *args, **more: process)
        stores = SimpleNamespace(
            objects=SimpleNamespace(past_cache=lambda: None), buckets=None, spool=None, keys=None
        )
        place = WorkerSlot(Settings(), cast(Stores, stores), lambda task, file: 600.0)
        place.start()
        place.watch(5, None)
        for task in (5, 6):
            place.send(chunk(task, 3))
        return place, process

    return start


@pytest.mark.parametrize(
    ("said", "blamed"),
    [
        ([FileStarted(5, 3), FileRead(5, replace(RECORD, pack=50))], (5, 3)),
        ([FileStarted(5, 3), FileRead(6, RECORD)], (6, None)),
        ([FileStarted(5, 3), FileRead(8, RECORD)], (5, 3)),
        ([FileStarted(5, 3), FindExisting(5, "1", "2", "3", []), FindExisting(8, "1", "2", "3", [])], (5, 3)),
        ([*_ended(RECORD, GIVEN)[:-1], FileStarted(6, 3), ChunkRead(5, replace(GIVEN, packs={}))], (5, None)),
    ],
)
def test_ends_the_worker_and_says_what_it_lied_about(
    started: Callable[[list[FromWorker]], tuple[WorkerSlot, _Process]],
    said: list[FromWorker],
    blamed: tuple[int, int | None],
) -> None:
    place, process = started(said)
    for _ in said[:-1]:
        place.receive()
    with pytest.raises(WorkerEnded, match="taken it over") as ended:
        place.receive()
    assert (ended.value.cause, (ended.value.task, ended.value.file)) == (Cause.FORGED, blamed)
    assert process.is_closed and place.pid is None


def test_admits_a_sealed_pack_only_with_the_seal_of_its_bytes() -> None:
    grant, parts = grant_of(b"k" * 32, PACK), list[bytes]()
    sealer = Sealer(grant, parts.append)
    sealer.begin()
    sealer.write(bytes(40))
    sealer.begin()
    sealer.write(bytes(60))
    seal, size = sealer.finish(), sum(map(len, parts))
    task = msgspec.structs.replace(chunk(), packs=[OpenPack(PACK, grant)])

    def told() -> Admission:
        made = Admission({PACK: size}.get)
        made.told(task)
        return made

    def said(seals: dict[int, bytes], record: NewRecord = RECORD) -> list[FromWorker]:
        given = replace(GIVEN, packs={PACK: (size, 0)}, seals=seals)
        return [FileStarted(5, 3), FileRead(5, record), FileStarted(5, None), ChunkRead(5, given)]

    made = told()
    for message in said({PACK: seal}):
        made.admit(message)
    other = bytearray(seal)
    other[-1] ^= 1
    for seals in ({}, {PACK: bytes(other)}, {PACK: seal[:9]}, {PACK: seal, 8: seal}):
        refusal(told(), *said(seals))
    # The file is longer than what was appended: a place in its tags is none.
    beyond = replace(RECORD, original_offset=61)
    assert size > 101
    refusal(told(), *said({PACK: seal}, beyond))
