"""The database goes away and comes back: who asks meanwhile is told to try again, and then it works."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.support.server import REGION, running
from tests.support.tcp_proxies import InterruptibleProxy


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[tuple[InterruptibleProxy, str]]:
    parts = urlsplit(postgres_url)
    assert parts.hostname and parts.port
    made = InterruptibleProxy(parts.hostname, parts.port)
    place = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{made.port}"
    yield made, urlunsplit(parts._replace(netloc=place))
    made.end()


def test_asks_to_try_again_while_the_database_is_away(
    proxy: tuple[InterruptibleProxy, str], tmp_path: Path
) -> None:
    way, url = proxy
    with ExitStack() as stack:
        server = stack.enter_context(running(tmp_path / "data", database_url=url))
        client = server.client()
        store = client.create_datastore(datastoreName="a")["datastoreId"]
        way.close()
        for method, path, body in (
            ("GET", "/datastore", b""),
            ("POST", "/datastore", b'{"datastoreName":"b","clientToken":"b"}'),
            ("GET", f"/datastore/{store}/studies", b""),
            (
                "POST",
                f"/datastore/{store}/imageSet/{'0' * 32}/getImageFrame",
                b'{"imageFrameId":"%s"}' % (b"0" * 32),
            ),
        ):
            reply = server.send(server.signed(method, path, body))
            assert (reply.status, reply.headers["retry-after"]) == (503, "1"), path
            assert reply.headers["x-amzn-errortype"] == "ServiceUnavailableException"
            assert "again later" in json.loads(reply.body)["message"]
        sts = boto3.client(
            "sts", endpoint_url=server.url, region_name=REGION, aws_access_key_id="AKLW" + "A" * 16,
            aws_secret_access_key="x", config=boto3.session.Config(retries={"total_max_attempts": 1}),
        )  # fmt: skip
        with pytest.raises(ClientError) as refused:
            sts.get_caller_identity()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        assert refused.value.response["Error"]["Code"] == "ServiceUnavailableException"
        assert not [line for line in server.err if "Traceback" in line and '"request failed"' in line]
        assert server.call("GET", "/readyz").status == 503
        way.is_open = True
        assert client.list_datastores()["datastoreSummaries"][0]["datastoreId"] == store
