"""What is believed of a proxy: ``aws:SourceIp``, ``aws:SecureTransport`` and the log behind one."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.api.auth.restricted_keys import REGION, allow, key
from tests.support.certificates import certificate
from tests.support.reverse_proxy import proxy
from tests.support.server import Server, running, trusting, until

# All of 127.0.0.0/8 is this machine, so that client and proxy can have an address each.
CLIENT = "127.0.0.7"
FORGED = {"X-Forwarded-For": "203.0.113.5", "X-Forwarded-Proto": "https", "Forwarded": "for=203.0.113.5"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose proxies are on 127.0.0.1."""
    data = tmp_path_factory.mktemp("proxies") / "data"
    with running(data, env={"LIGHTWELL_TRUSTED_PROXIES": "127.0.0.1, 192.0.2.0/24"}) as server:
        yield server


def ask(
    address: tuple[str, int],
    who: Credentials,
    method: str = "GET",
    path: str = "/datastore",
    *,
    headers: Mapping[str, str] | None = None,
    tls: bool = False,
    source: str = CLIENT,
) -> tuple[int, bytes]:
    """Status and body of the answer at ``address`` to a request that ``who`` has signed, from ``source``."""
    request = AWSRequest(method, "{}://{}:{}{}".format("https" if tls else "http", *address, path))
    SigV4Auth(who, "medical-imaging", REGION).add_auth(request)
    connection = (
        http.client.HTTPSConnection(*address, timeout=60, context=trusting(), source_address=(source, 0))
        if tls
        else http.client.HTTPConnection(*address, timeout=60, source_address=(source, 0))
    )
    try:
        connection.request(method, path, headers={**dict(request.headers), **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def status(server: Server, address: tuple[str, int], condition: Mapping[str, Any], **more: Any) -> int:
    """How ListDatastores is answered to a key under ``condition``."""
    return ask(address, key(server, allow("medical-imaging:ListDatastores", **condition)), **more)[0]


def at(address: str) -> dict[str, Any]:
    return {"IpAddress": {"aws:SourceIp": address}}


def secure(text: str) -> dict[str, Any]:
    return {"Bool": {"aws:SecureTransport": text}}


def test_sees_the_client_and_the_tls_behind_a_proxy(server: Server, tmp_path: Path) -> None:
    with proxy(server, certificate(tmp_path)) as address:
        for condition, expected in (
            (at(CLIENT), 200),
            (at("127.0.0.1"), 403),
            (secure("true"), 200),
            (secure("false"), 403),
        ):
            assert status(server, address, condition, tls=True) == expected
    until(lambda: any(f'"client":"{CLIENT}"' in line for line in server.err))


def test_writes_links_as_the_client_reaches_it(server: Server, tmp_path: Path) -> None:
    store = server.client().create_datastore()["datastoreId"]
    with proxy(server, certificate(tmp_path)) as address:
        _, body = ask(address, server.root, "OPTIONS", f"/datastore/{store}", tls=True)
    assert json.loads(body)["base"] == "https://{}:{}/datastore/{}".format(*address, store)


def test_sees_that_there_is_no_tls_before_a_proxy(server: Server) -> None:
    with proxy(server) as address:
        assert status(server, address, secure("false")) == 200
        assert status(server, address, secure("true")) == 403


def test_trusts_nothing_that_the_client_itself_has_sent(server: Server) -> None:
    with proxy(server) as address:
        for condition, expected in ((at(CLIENT), 200), (at("203.0.113.5"), 403), (secure("true"), 403)):
            assert status(server, address, condition, headers=FORGED) == expected
    for condition, expected in ((at(CLIENT), 200), (at("203.0.113.5"), 403), (secure("true"), 403)):
        assert status(server, server.address, condition, headers=FORGED) == expected


def test_decides_nothing_by_a_malformed_address(server: Server) -> None:
    for condition in (at("127.0.0.0/8"), {"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}}):
        headers = {"X-Forwarded-For": "198.51.100.7, unix:"}
        assert status(server, server.address, condition, headers=headers, source="127.0.0.1") == 403


def test_trusts_nobody_if_no_proxy_is_named(tmp_path: Path) -> None:
    with running(tmp_path / "data") as plain:
        for condition, expected in ((at("127.0.0.1"), 200), (at("203.0.113.5"), 403), (secure("true"), 403)):
            found = status(plain, plain.address, condition, headers=FORGED, source="127.0.0.1")
            assert found == expected
