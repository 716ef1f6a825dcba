"""``throttle = aws``, as clients meet it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.server import Server, running

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def throttled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data: Path = tmp_path_factory.mktemp("throttled") / "data"
    with running(data, "--throttle", "aws", workers=2) as server:
        server.client().create_datastore(datastoreName="first")
        yield server


def codes(call: Callable[[], Any], times: int, threads: int) -> list[int]:
    def one(_: int) -> int:
        try:
            return int(call()["ResponseMetadata"]["HTTPStatusCode"])
        except ClientError as error:
            return int(error.response["ResponseMetadata"]["HTTPStatusCode"])

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(times)))


def test_refuses_requests_that_come_too_fast(throttled: Server, refused: Refused) -> None:
    client = throttled.client()
    with pytest.raises(ClientError) as caught:
        for number in range(10):  # other tests may have run for longer than the bucket takes to fill
            client.create_datastore(datastoreName=f"another-{number}")
    response = caught.value.response
    assert response["Error"]["Code"] == "ThrottlingException"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert 1 <= int(response["ResponseMetadata"]["HTTPHeaders"]["retry-after"]) <= 12
    assert "0.085 times a second" in response["Error"]["Message"]
    # Another operation has a bucket of its own.
    assert client.list_datastores()["datastoreSummaries"]


def test_allows_a_burst_over_all_its_processes(throttled: Server) -> None:
    client = throttled.client(max_pool_connections=8)
    end, found = time.monotonic() + 60, list[int]()
    # The first of them have the burst, even if a busy machine is too slow for it to be used up.
    while 429 not in found and time.monotonic() < end:
        found += codes(lambda: client.get_datastore(datastoreId="0" * 32), 200, 8)
    assert set(found) == {404, 429}
    # The burst, and what the rate gave back meanwhile.
    assert found.count(404) >= 20


def test_allows_a_client_that_retries(throttled: Server) -> None:
    patient = throttled.client(retries={"total_max_attempts": 10, "mode": "standard"}, max_pool_connections=4)
    retried: list[int] = []

    def call() -> Any:
        answer = patient.list_tags_for_resource(
            resourceArn=f"arn:aws:medical-imaging:us-east-1:000000000000:datastore/{store}"
        )
        retried.append(answer["ResponseMetadata"]["RetryAttempts"])
        return answer

    store = patient.list_datastores()["datastoreSummaries"][0]["datastoreId"]
    # A machine that is busy may take as long for them as they are allowed.
    end = time.monotonic() + 60
    while not sum(retried) and time.monotonic() < end:
        assert set(codes(call, 40, 4)) == {200}
    assert sum(retried) > 0


def test_throttles_no_unauthenticated_request(throttled: Server) -> None:
    for _ in range(30):
        assert throttled.call("GET", "/datastore").status == 403
    assert throttled.client().list_datastores()["datastoreSummaries"]


def test_throttles_nothing_by_default(client: Any) -> None:
    found = codes(lambda: client.get_datastore(datastoreId="0" * 32), 60, 4)
    assert set(found) == {404}
