"""Whoever fails often is slowed down and told of, on a real server; whoever does not is served."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from botocore.credentials import Credentials

from lightwell.domain.arn import builtin_authorizer_arn
from tests.support.server import Server, running, until
from tests.unit.web.test_gateway import bearer_token

EVENT = "Requests Failing Verification"
MOST = 5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("failed") / "data"
    with running(data, "--failed-proofs", str(MOST), "--log-format", "json", workers=2) as server:
        yield server


def test_tells_of_many_forged_signatures_and_serves_the_key(server: Server) -> None:
    forged = Credentials(server.root.access_key, "f" * 40)
    statuses = [server.send(server.signed("GET", "/datastore", credentials=forged)).status for _ in range(20)]
    assert statuses[:MOST] == [403] * MOST, "the two processes count together"
    assert statuses[-1] == 429 and set(statuses) == {403, 429}
    server.client().list_datastores()

    def events() -> list[dict[str, object]]:
        file = server.data / "events.ndjson"
        lines = file.read_text().splitlines() if file.exists() else []
        return [event["detail"] for event in map(json.loads, lines) if event["detail-type"] == EVENT]

    until(lambda: len(events()) >= 2)
    told = sorted(events(), key=lambda detail: "claimed" in detail)
    assert told == [
        {"kind": "signature", "count": MOST + 1, "address": "127.0.0.1"},
        {"kind": "signature", "count": MOST + 1, "claimed": server.root.access_key},
    ]
    lines = [json.loads(line) for line in server.err if "many requests fail verification" in line]
    assert len(lines) == 2 and {line.get("client") for line in lines} == {"127.0.0.1", None}
    counted = server.call("GET", "/metrics").body.decode()
    assert 'lightwell_failed_proofs_total{kind="signature"} 20' in counted


def test_slows_down_tokens_and_links_that_are_not_accepted(server: Server) -> None:
    arn = builtin_authorizer_arn("us-east-1", "000000000000")
    store = server.client().create_datastore(datastoreName="built-in", lambdaAuthorizerArn=arn)["datastoreId"]
    headers = {"authorization": f"Bearer {bearer_token()}"}
    link = json.dumps({"token": "x" * 60}).encode()
    role = "arn:aws:iam::000000000000:role/reader"
    form = (
        f"Action=AssumeRoleWithWebIdentity&WebIdentityToken=a.b.c&RoleArn={role}&RoleSessionName=me".encode()
    )
    for method, path, body, given in (
        ("GET", f"/datastore/{store}/studies", b"", headers),
        ("POST", "/console/api/link", link, {}),
        ("POST", "/", form, {"content-type": "application/x-www-form-urlencoded"}),
    ):
        replies = [server.call(method, path, body, given) for _ in range(MOST + 2)]
        assert replies[-1].status == 429, replies[-1]
        assert int(replies[-1].headers["retry-after"]) >= 1
    server.client().list_datastores()
