"""DICOMDIRs, directories of zip files and overrides that are made to harm who reads them."""

from __future__ import annotations

import json
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from lightwell.clock import Ids
from lightwell.codec_pool.process import WorkerProcess
from lightwell.domain.imports.dicomdir_paths import is_file_id
from lightwell.operations import import_jobs
from lightwell.work.imports.chunk_reader import ChunkReader
from tests.cli.running import lightwell
from tests.imports.codec_pool.sabotage import sabotage
from tests.support import invariants
from tests.support.ct_files import ct, write
from tests.support.imports import IN, OUT, ROLE, Importing
from tests.support.server import Server, ended_job, running

MiB = 1 << 20
DEFLATED = "1.2.840.10008.1.2.1.99"
MEDIA = "1.2.840.10008.1.3.10"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its codec workers have the least memory that they may have."""
    env = {"LIGHTWELL_WORKER_MEMORY": "256m", "LIGHTWELL_CODEC_WORKERS": "1"}
    with running(tmp_path_factory.mktemp("directories") / "data", env=env) as server:
        for name in (IN, OUT):
            (server.data / "buckets" / name).mkdir(parents=True)
        yield server


def most_memory(server: Server) -> int:
    """The most that any process of the server has had, but for codec workers."""
    supervisor = psutil.Process(server.process.pid)
    peak = 0
    for process in [supervisor, *supervisor.children(recursive=True)]:
        # One that has just ended has neither.
        with suppress(psutil.Error, OSError):
            if "lightwell.codec_pool.worker_main" in process.cmdline():
                continue
            status = Path(f"/proc/{process.pid}/status").read_text()
            for line in status.splitlines():
                if line.startswith("VmHWM:"):
                    peak = max(peak, int(line.split()[1]) << 10)
    return peak


def imported(server: Server, *paths: Path) -> dict[str, Any]:
    """`lightwell import` beside the running server, which does the work."""
    done = lightwell("import", *paths, "--json", data=server.data, timeout=300)
    answer: dict[str, Any] = done.json()
    return answer


def refusal(server: Server, bad: Path, good: Path) -> str:
    """Why a file is refused that costs the server no memory, and the file beside it no import."""
    before = most_memory(server)
    done = imported(server, bad, good)
    assert most_memory(server) - before < 150 * MiB
    assert done["numberOfImportedFiles"] == 1
    (reason,) = done["reasons"]
    said: str = reason["reason"]
    return said


def deflated_bomb(path: Path, size: int) -> Path:
    """A DICOMDIR of some kilobytes that inflates to ``size``."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(MEDIA)
    meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    meta.TransferSyntaxUID = UID(DEFLATED)
    meta.FileMetaInformationVersion = b"\0\1"
    meta.ImplementationClassUID = UID("1.2.3.4")
    head = DicomBytesIO()
    head.is_little_endian, head.is_implicit_VR = True, False
    write_file_meta_info(head, meta)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    with path.open("wb") as stream:
        stream.write(b"\0" * 128 + b"DICM" + head.getvalue())
        stream.write(squeeze.compress(struct.pack("<HH2sHI", 0x0004, 0x1220, b"OB", 0, size)))
        zeros = bytes(MiB)
        for _ in range(size // MiB):
            stream.write(squeeze.compress(zeros))
        stream.write(squeeze.flush())
    return path


def crowded_zip(path: Path, members: int) -> Path:
    """A zip file of nothing but the names of so many members."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, 1, 0) + b"x"
    entries = (entry + b"x") * members
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(entries), len(local), 0)
    path.write_bytes(local + entries + end)
    return path


def test_refuses_a_dicomdir_that_inflates_without_end(server: Server, tmp_path: Path) -> None:
    bomb = deflated_bomb(tmp_path / "DICOMDIR", 700 * MiB)
    assert bomb.stat().st_size < MiB
    good = write(tmp_path / "good.dcm", ct(1))
    assert "DICOMDIR takes more memory than a codec worker may use" in refusal(server, bomb, good)


def test_refuses_a_zip_file_whose_directory_is_monstrous(server: Server, tmp_path: Path) -> None:
    crowd = crowded_zip(tmp_path / "crowd.zip", 900_000)
    good = write(tmp_path / "good.dcm", ct(2))
    assert "crowd.zip takes more memory than a codec worker may use" in refusal(server, crowd, good)


def test_refuses_an_override_that_is_all_braces(server: Server) -> None:
    bucket = server.data / "buckets" / IN
    write(bucket / "a" / "1.dcm", ct(3))
    (bucket / "a" / "crowd.json").write_bytes(b"[" + b"{}," * 16_000_000 + b"{}]")
    client = server.client()
    store = client.create_datastore(datastoreName="overrides")["datastoreId"]
    mapping = {"studyInstanceUID": "1.2.3", "metadataFilePath": "crowd.json"}
    before = most_memory(server)
    job = client.start_dicom_import_job(
        datastoreId=store,
        dataAccessRoleArn=ROLE,
        clientToken=Ids().id(),
        inputS3Uri=f"s3://{IN}/a/",
        outputS3Uri=f"s3://{OUT}/",
        importConfiguration={"dicomJsonMetadataImportConfiguration": {"dicomMetadataMappings": [mapping]}},
    )["jobId"]
    found = ended_job(client, store, job, seconds=300)
    assert most_memory(server) - before < 150 * MiB
    assert found["jobStatus"] == "COMPLETED"
    folder = found["outputS3Uri"].removeprefix(f"s3://{OUT}/")
    lines = (server.data / "buckets" / OUT / folder / "FAILURE" / "failure.ndjson").read_text().splitlines()
    (failure,) = map(json.loads, lines)
    assert failure["inputFile"] == "a/crowd.json"
    assert "takes more memory than a codec worker may use" in failure["exception"]["message"]


_READS = """
    from lightwell.codec_pool import input_inspection
    input_inspection.referenced_files = lambda *_: {}
"""


def told(server: Importing, *paths: Path) -> dict[str, str]:
    job = import_jobs.submit_local(server.context, server.datastore, list(map(str, paths)))
    server.work()
    report = server.report(job.id)
    assert report.manifest["numberOfImportedFiles"] == 1
    invariants.check(server.stores)
    return report.messages()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("os.abort()", "it ended its codec worker: its process was ended by SIGABRT"),
        ("time.sleep(600)", "it ended its codec worker: it took longer than 1 seconds"),
        ("[('..', 'etc', 'passwd')]", "names a file outside its folder"),
        ("1 / 0", "a fault in lightwell (ZeroDivisionError)"),
    ],
)
def test_continues_however_reading_a_dicomdir_ends(
    body: str, words: str, sqlite: Importing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(tmp_path / "modules", monkeypatch, _READS.format(body))
    if "sleep" in body:
        object.__setattr__(sqlite.settings, "file_timeout", 1)
        monkeypatch.setattr(ChunkReader, "_limit", lambda *_: 600.0)  # the good file may take its time
    (tmp_path / "DICOMDIR").write_bytes(b"anything")
    good = write(tmp_path / "good.dcm", ct(1))
    (message,) = told(sqlite, tmp_path / "DICOMDIR", good).values()
    assert words in message


def test_tries_again_where_its_worker_was_killed(
    sqlite: Importing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = WorkerProcess.__init__
    killed: list[int] = []

    def dying(worker: WorkerProcess, *args: object, **more: int) -> None:
        start(worker, *args, **more)  # type: ignore[arg-type]
        if not killed:
            worker.process.kill()
            killed.append(worker.pid)

    monkeypatch.setattr(WorkerProcess, "__init__", dying)
    good = write(tmp_path / "good.dcm", ct(1))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(good, good.name)
    assert told(sqlite, tmp_path / "a.zip") == {}
    assert killed


@pytest.mark.parametrize("cut", [0, 400])
def test_says_that_a_file_is_not_a_dicomdir(cut: int, sqlite: Importing, tmp_path: Path) -> None:
    whole = Path(str(get_testdata_file("dicomdirtests/DICOMDIR"))).read_bytes()
    (tmp_path / "DICOMDIR").write_bytes(whole[:cut])
    good = write(tmp_path / "good.dcm", ct(1))
    (message,) = told(sqlite, tmp_path / "DICOMDIR", good).values()
    assert "is not a DICOMDIR" in message


def test_finds_files_of_a_dicomdir_that_were_copied_in_lower_case(sqlite: Importing, tmp_path: Path) -> None:
    source = Path(str(get_testdata_file("dicomdirtests/DICOMDIR"))).parent
    (tmp_path / "media").mkdir()
    shutil.copy(source / "DICOMDIR", tmp_path / "media" / "DICOMDIR")
    lower = source / "77654033" / "CR1" / "6154"
    (tmp_path / "media" / "77654033" / "cr1").mkdir(parents=True)
    shutil.copy(lower, tmp_path / "media" / "77654033" / "cr1" / "6154")
    messages = told(sqlite, tmp_path / "media" / "DICOMDIR")
    assert len(messages) == 30 and all("cannot be read" in message for message in messages.values())


def test_reads_zip_files_and_their_members_by_names_of_any_bytes(sqlite: Importing, tmp_path: Path) -> None:
    file = write(tmp_path / "1.dcm", ct(1))
    place = Path(str(tmp_path).encode().decode(), b"na\xefve".decode("utf-8", "surrogateescape"))
    place.mkdir()
    with zipfile.ZipFile(place / "z.zip", "w") as archive:
        archive.write(file, "\u00e4/1.dcm")
    assert told(sqlite, place) == {}


@pytest.mark.parametrize(
    ("parts", "fits"),
    [
        (("DICOM", "A1"), True),
        ((), False),
        (("",), False),
        (("..", "x"), False),
        (("a/b",), False),
        (("a\0",), False),
        (("x" * 256,), False),
        (("ä" * 128,), False),
        (("x",) * 65, False),
    ],
)
def test_knows_what_a_medium_may_name(parts: tuple[str, ...], fits: bool) -> None:
    assert is_file_id(parts) is fits
