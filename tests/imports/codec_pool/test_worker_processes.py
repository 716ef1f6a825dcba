"""Codec workers of a running server, as the system sees them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.credentials import Credentials

from lightwell.clock import Ids
from lightwell.codec_pool.process import _public
from lightwell.imaging import foreign_decoders
from lightwell.settings import Settings, load, worker_environment
from tests.support.ct_files import ct, write
from tests.support.imports import IN, OUT, ROLE
from tests.support.server import Server, ended_job, running

SECRETS = {
    "LIGHTWELL_SECRET_KEY": "c2VjcmV0LWtleS1zZWNyZXQta2V5LXNlY3JldC1rZXk=",
    "LIGHTWELL_ROOT_ACCESS_KEY_ID": "AKIAROOTROOTROOTROOT",
    "LIGHTWELL_ROOT_SECRET_ACCESS_KEY": "root-secret-root-secret-root-secret",
    "AWS_ACCESS_KEY_ID": "AKIASTORAGESTORAGE00",
    "AWS_SECRET_ACCESS_KEY": "storage-secret",
    "AWS_SESSION_TOKEN": "storage-token",
    "HTTPS_PROXY": "http://someone:proxy-secret@127.0.0.1:9",
    "SOME_OTHER_TOKEN": "other-secret",
}

ROOT = Credentials(SECRETS["LIGHTWELL_ROOT_ACCESS_KEY_ID"], SECRETS["LIGHTWELL_ROOT_SECRET_ACCESS_KEY"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("workers") / "data", env=SECRETS) as server:
        for name in (IN, OUT):
            (server.data / "buckets" / name).mkdir(parents=True)
        yield server


def imported(server: Server, prefix: str) -> dict[str, Any]:
    """Import what is below a prefix of the input bucket; the job as it ended."""
    client = server.client(ROOT)
    store = client.create_datastore(datastoreName="workers")["datastoreId"]
    job = client.start_dicom_import_job(
        datastoreId=store,
        dataAccessRoleArn=ROLE,
        clientToken=Ids().id(),
        inputS3Uri=f"s3://{IN}/{prefix}",
        outputS3Uri=f"s3://{OUT}/",
    )["jobId"]
    return ended_job(client, store, job)


def workers(server: Server) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(server.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended since
            if "lightwell.codec_pool.worker_main" in process.cmdline():
                found.append(process)
    return found


@pytest.fixture
def reading(server: Server) -> list[psutil.Process]:
    """The codec workers that have read an import, and wait for more."""
    write(server.data / "buckets" / IN / "a" / "1.dcm", ct(1))
    assert imported(server, "a/")["jobStatus"] == "COMPLETED"
    found = workers(server)
    assert found
    return found


def test_finds_no_key_and_no_secret_in_its_environment(reading: list[psutil.Process]) -> None:
    for process in reading:
        environment = Path(f"/proc/{process.pid}/environ").read_bytes().decode()
        assert "PATH=" in environment
        for name, value in SECRETS.items():
            assert name not in environment and value not in environment


def test_is_confined_in_every_thread(server: Server, reading: list[psutil.Process]) -> None:
    lacking = [line for line in server.err if "confined less" in line]
    if lacking:
        pytest.skip(f"this kernel: {lacking}")
    for process in reading:
        for thread in Path(f"/proc/{process.pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended since
                lines = (thread / "status").read_text().splitlines()
                assert "NoNewPrivs:\t1" in lines and "Seccomp:\t2" in lines
        assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)


def test_loads_no_decoder_that_lightwell_does_not_decode_with(reading: list[psutil.Process]) -> None:
    here = [name for name in foreign_decoders.PACKAGES if find_spec(name)]
    assert "gdcm" in here, "no decoder is installed that pydicom could load"
    for process in reading:
        files = {part for each in process.memory_maps() for part in Path(each.path).parts}
        assert "numpy" in files and files.isdisjoint({*here, "python_gdcm.libs", "pillow.libs"})
        assert not [name for name in files if name.startswith("_gdcm")]


def test_gets_no_variable_that_reaching_s3_takes() -> None:
    environ = {**SECRETS, "PATH": "/bin", "LC_ALL": "C", "PYTHONPATH": "/x", "no_proxy": "here"}
    assert worker_environment(environ) == {"PATH": "/bin", "LC_ALL": "C", "PYTHONPATH": "/x"}


def test_is_told_no_secret_and_no_database() -> None:
    settings = load(
        {
            "root_access_key_id": "A" * 20,
            "root_secret_access_key": "hidden-1",
            "secret_key": "hidden-2",
            "database_url": "postgresql://user:hidden-3@host/db",
            "s3_endpoint_url": "https://user:hidden-4@host",
        },
        environ={},
    )
    told = _public(settings)
    assert "hidden" not in repr(told) and told["worker_memory"] == Settings().worker_memory
