"""PostgreSQL and the S3 storage stop and start again in the middle of imports, or their answers are lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
import pytest
from botocore.exceptions import ClientError

from tests.many.deployment import Deployment, deployed
from tests.many.proof import assert_reported, assert_stored, assert_whole, sent
from tests.many.test_races import slices
from tests.many.test_roles import stow
from tests.support import services
from tests.support.server import Server, until
from tests.support.tcp_proxies import InterruptibleProxy

COUNT = 200
AWAY = 503
Answer = TypeVar("Answer")


class Asking(threading.Thread):
    """Asks a server for its image sets all the time, and notes the statuses of its answers."""

    def __init__(self, server: Server, datastore: str) -> None:
        super().__init__(daemon=True)
        self._client = server.client()
        self._datastore = datastore
        self._over = threading.Event()
        self.statuses: list[int] = []

    def run(self) -> None:
        while not self._over.wait(0.05):
            try:
                self._client.search_image_sets(datastoreId=self._datastore)
                self.statuses.append(200)
            except ClientError as error:
                self.statuses.append(error.response["ResponseMetadata"]["HTTPStatusCode"])

    def stop(self) -> None:
        self._over.set()
        self.join()


class Unreliable(InterruptibleProxy):
    """Every so many times that a client sends something with ``word``, its connection is cut instead of the
    answer; never while ``every`` is 0."""

    def __init__(self, host: str, port: int, word: bytes) -> None:
        self._word = word
        self.every = 0
        self.seen = self.cuts = 0
        super().__init__(host, port)

    def asked(self, link: Any, data: bytes) -> None:
        if self.every and self._word in data:
            self.seen += 1
            if self.seen % self.every == 0:
                self.cuts += 1
                link.is_cut = True
        super().asked(link, data)


@dataclass(frozen=True, slots=True)
class Away:
    """A deployment of two servers and two workers, and what can be taken from it."""

    own: Deployment
    postgres: services.Restartable[str]
    s3: services.Restartable[services.S3]
    to_postgres: Unreliable
    to_s3: Unreliable


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Away]:
    """PostgreSQL and SeaweedFS, each behind a proxy, and a deployment that reaches them through those."""
    port, *ports = services.free_ports(5, also=10_000)
    with (
        services.restartable(lambda folder: services.postgres_in(folder, port)) as postgres,
        services.restartable(lambda folder: services.seaweedfs_in(folder, ports)) as s3,
        deployed(tmp_path_factory.mktemp("away"), postgres.service, s3.service) as own,
    ):
        to_postgres = Unreliable("127.0.0.1", port, b"COMMIT")
        to_s3 = Unreliable("127.0.0.1", ports[3], b"PUT /")
        own.settings["LIGHTWELL_STORAGE_ENDPOINT_URL"] = f"http://127.0.0.1:{to_s3.port}"
        own.settings["LIGHTWELL_S3_ENDPOINT_URL"] = f"http://127.0.0.1:{to_s3.port}"
        direct = own.database_url
        own.database_url = direct.replace(f":{port}/", f":{to_postgres.port}/")
        for name in ("a", "b"):
            own.launch_server(name)
        for name in ("w1", "w2"):
            own.launch_worker(name)
        own.wait_until_ready()
        yield Away(own, postgres, s3, to_postgres, to_s3)
        to_postgres.end()
        to_s3.end()


def count(own: Deployment, sql: str) -> int:
    with psycopg.connect(own.database_url) as connection:
        row = connection.execute(sql).fetchone()
        assert row is not None
        return int(row[0])


def is_under_way(own: Deployment, job: str) -> bool:
    return count(own, f"SELECT count(*) FROM import_job WHERE id = '{job}' AND phase <> 'done'") == 1


def without_postgresql(away: Away, bucket: str, one: bytes) -> tuple[Asking, str, str]:
    """A job in whose middle PostgreSQL was away, and whose storage is not to be reached; its data store."""
    own = away.own
    a, b = own.servers
    datastore = own.datastore(a)
    asking = Asking(b, datastore)
    asking.start()
    job = own.start_import(datastore, bucket, a)
    until(lambda: count(own, "SELECT count(*) FROM staged") > 0)
    away.postgres.stop()
    until(lambda: AWAY in asking.statuses)
    assert stow(a, datastore, one)[0] == AWAY
    time.sleep(1)
    away.postgres.start()
    done = len(asking.statuses)
    until(lambda: 200 in asking.statuses[done:])
    away.to_s3.close()
    return asking, datastore, job


@pytest.mark.timeout(1200)
def test_goes_on_after_postgresql_and_the_storage_were_away(away: Away) -> None:
    s3, own = away.s3, away.own
    a, b = own.servers
    files = slices("41", COUNT)
    one = next(iter(files.values()))
    bucket = own.input_bucket(files)
    asking, datastore, job = without_postgresql(away, bucket, one)
    for _ in range(4):
        if is_under_way(own, job):
            break
        # It was done before this process, which has to wait for its turn, came to look.
        asking.stop()
        away.to_s3.is_open = True
        asking, datastore, job = without_postgresql(away, bucket, one)
    s3.stop()
    # From here on they meet the storage itself: gone, and later half ready.
    away.to_s3.is_open = True
    assert stow(a, datastore, one)[0] == AWAY
    time.sleep(1)
    assert is_under_way(own, job)
    s3.start()
    assert_reported(own, bucket, own.ended(datastore, job, b), files)
    asking.stop()
    assert set(asking.statuses) == {200, AWAY}
    assert_stored((a, b), datastore, sent(files.values()))
    assert_whole(own)


@pytest.mark.timeout(1200)
def test_keeps_everything_once_where_the_answers_to_commits_are_lost(away: Away) -> None:
    """The database has committed, or the storage has an object, and nobody is told."""
    own = away.own
    a, b = own.servers
    files, uploads = slices("42", COUNT), slices("43", 12)
    bucket = own.input_bucket(files)
    datastore, other = own.datastore(a), own.datastore(b)
    ways = away.to_postgres, away.to_s3
    away.to_postgres.every, away.to_s3.every = 8, 3
    try:
        job = until_answered(lambda: own.start_import(datastore, bucket, a))
        for data in uploads.values():
            until_answered(lambda d=data: stow(a, other, d)[0] == 200)  # type: ignore[misc]
        ended = until_answered(lambda: ended_or_none(b, datastore, job))
    finally:
        for way in ways:
            way.every = 0
    assert all(way.cuts > 5 for way in ways)
    # A job whose acceptance was not answered is there, too, and finds everything there.
    jobs = b.client().list_dicom_import_jobs(datastoreId=datastore)["jobSummaries"]
    for each in jobs:
        own.ended(datastore, each["jobId"], b)
    assert_reported(own, bucket, ended, files)
    assert_stored((a, b), datastore, sent(files.values()), range(1, 1 + len(jobs)))
    assert_stored((b, a), other, sent(uploads.values()), range(1, 100))
    assert_whole(own)


def until_answered(call: Callable[[], Answer | None]) -> Answer:
    """What a client does that repeats what was not answered, or with 503."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        try:
            if answer := call():
                return answer
        except ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == AWAY, error
        time.sleep(0.05)
    raise AssertionError("no answer")


def ended_or_none(server: Server, datastore: str, job: str) -> dict[str, Any] | None:
    answer = server.client().get_dicom_import_job(datastoreId=datastore, jobId=job)["jobProperties"]
    return dict(answer) if answer["jobStatus"] in ("COMPLETED", "FAILED") else None
