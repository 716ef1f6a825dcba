"""A server whose S3 fails at random in every way imports, stores and serves all the same, and never lies."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.dicomweb.support.uploads import RELATED, part10, related
from tests.faults.network import faulty_s3
from tests.faults.network.faulty_s3 import INTERNAL, SLOW_DOWN, WRONG_KEY, Answer, Ask, FaultyS3, Request
from tests.support.ct_files import ct
from tests.support.server import Reply, Server, ended_job, running, until
from tests.support.services import S3, boto3_client, new_bucket

SHARE = 0.3
FAULTS = [
    faulty_s3.refuses(500, INTERNAL),
    faulty_s3.refuses(503, SLOW_DOWN),
    faulty_s3.refuses(403, WRONG_KEY),
    faulty_s3.refuses(400, b"<Error><Code>RequestTimeout</Code></Error>"),
    *(faulty_s3.stores_and_fails, faulty_s3.loses, faulty_s3.loses, faulty_s3.cuts(200), faulty_s3.flips),
]
STORED = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'


class Random:
    """Answers ``SHARE`` of the requests by one of the faults, until it ``is_over``."""

    def __init__(self) -> None:
        self._random = random.Random(3)
        self.is_over = False
        self.used: Counter[int] = Counter()

    def __call__(self, request: Request, ask: Ask) -> Answer | None:
        if self.is_over or self._random.random() > SHARE:
            return None
        number = self._random.randrange(len(FAULTS))
        answer = FAULTS[number](request, ask)
        self.used[number] += answer is not None
        return answer


@pytest.mark.endurance
def test_imports_stores_and_serves_what_it_should(s3_endpoint: S3, tmp_path: Path) -> None:
    way, faults = FaultyS3(s3_endpoint.url), Random()
    env = {
        **s3_endpoint.environment,
        "LIGHTWELL_STORAGE_URL": f"s3://{new_bucket(s3_endpoint)}/objects",
        "LIGHTWELL_STORAGE_ENDPOINT_URL": way.url,
        "LIGHTWELL_S3_ENDPOINT_URL": way.url,
    }
    bucket, own = new_bucket(s3_endpoint), boto3_client(s3_endpoint)
    for number in range(100, 140):
        own.put_object(Bucket=bucket, Key=f"in/{number}.dcm", Body=part10(ct(number, study="88")))
    own.close()
    with running(tmp_path / "data", env=env) as server:
        client = server.client()
        store = client.create_datastore(datastoreName="a")["datastoreId"]
        way.for_all = faults
        job = client.start_dicom_import_job(
            datastoreId=store, dataAccessRoleArn="arn:aws:iam::123456789012:role/any", clientToken="a",
            inputS3Uri=f"s3://{bucket}/in/", outputS3Uri=f"s3://{bucket}/out/",
        )["jobId"]  # fmt: skip
        for number in range(1, 41):
            body = related(part10(ct(number, study="77")))
            until(lambda body=body: _answered(_stow(server, store, body)))  # type: ignore[misc]
        ended = ended_job(client, store, job)
        assert ended["jobStatus"] == "COMPLETED", ended
        found = json.loads(server.send(server.signed("GET", f"/datastore/{store}/instances?limit=500")).body)
        assert len(found) == 80
        seen: dict[int, set[bytes]] = {}
        for number, each in enumerate([*found] * 4):
            reply = _frame(server, store, each)
            if _answered(reply):
                seen.setdefault(number % len(found), set()).add(_payload(reply))
        faults.is_over = True
        for number, each in enumerate(found):
            until(lambda each=each: _frame(server, store, each).status == 200)  # type: ignore[misc]
            assert seen.get(number, set()) <= {_payload(_frame(server, store, each))}
        assert set(faults.used) == set(range(len(FAULTS)))
        assert not [line for line in server.err if "Traceback" in line]
    way.end()


def _answered(reply: Reply) -> bool:
    """Whether it was done; the only other answer is to try again."""
    assert reply.status in (200, 503), reply.body
    if reply.status == 503:
        time.sleep(0.05)
    return reply.status == 200


def _stow(server: Server, store: str, body: bytes) -> Reply:
    headers = {"content-type": RELATED}
    return server.send(server.signed("POST", f"/datastore/{store}/studies", body, headers=headers))


def _frame(server: Server, store: str, instance: dict[str, Any]) -> Reply:
    study, series, one = (instance[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
    path = f"/datastore/{store}/studies/{study}/series/{series}/instances/{one}/frames/1"
    return server.send(server.signed("GET", path, headers={"accept": STORED}))


def _payload(reply: Reply) -> bytes:
    return reply.body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
