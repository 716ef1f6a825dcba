"""Heads that ask for much work, or for another protocol, before anybody knows who sends them."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.support.server import REGION, Reply, Server

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
VERSION = b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
UID = "1.2.826.0.1.3680043.8.498.12345678901234567890123456789012345678"


def refusal(reply: Reply) -> tuple[int, str]:
    assert json.loads(reply.body)["message"]
    return reply.status, reply.headers["x-amzn-errortype"]


# What takes work --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/datastore", f"/datastore/{'a' * 32}/studies", f"/tags/arn%3A{'a' * 32}", "/healthz", "/nothing"],
)
@pytest.mark.parametrize("expires", [None, 60])
def test_refuses_a_long_query_whoever_sends_it(server: Server, path: str, expires: int | None) -> None:
    long = server.signed("GET", f"{path}?x={'%2B' * 2731}", query_expires=expires)
    assert refusal(server.send(long)) == (414, "RequestURITooLongException")
    many = server.signed(
        "GET", f"{path}?{'&'.join(f'a{number}=b' for number in range(201))}", query_expires=expires
    )
    assert refusal(server.send(many)) == (400, "ValidationException")


def test_refuses_a_long_query_before_it_looks_at_the_signature(server: Server) -> None:
    for query, status in (("+=%&" * 15_000, 414), ("+=%&" * 201, 400)):
        assert refusal(server.call("GET", f"/datastore?{query}"))[0] == status
        headers = {"Authorization": "AWS4-HMAC-SHA256 nonsense"}
        assert refusal(server.call("GET", f"/datastore?{query}", headers=headers))[0] == status


def test_refuses_a_long_query_of_sts_as_sts_does(server: Server) -> None:
    reply = server.call("GET", f"/?Action=GetCallerIdentity&x={'a' * 8192}")
    assert reply.status == 414 and b"<Code>RequestURITooLongException</Code>" in reply.body


def test_refuses_a_long_path(server: Server) -> None:
    frames = (
        f"/datastore/{'a' * 32}/studies/1/series/2/instances/3/frames/{','.join(map(str, range(1, 4000)))}"
    )
    assert refusal(server.send(server.signed("GET", frames))) == (414, "RequestURITooLongException")


@pytest.mark.parametrize("path", ["/", "/datastore", "/datastore/{}/studies"])
def test_refuses_a_length_of_more_digits_than_python_reads(server: Server, datastore: str, path: str) -> None:
    path = path.format(datastore)
    given = {"Content-Type": "application/dicom"}
    if path != "/":  # where a signature for another service would be refused first
        given["X-Amz-Content-SHA256"] = "UNSIGNED-PAYLOAD"
    signed = server.signed("POST", path, headers=given).headers
    headers = {name: value for name, value in signed.items() if name != "Content-Length"}
    headers |= {"Host": "{}:{}".format(*server.address), "Content-Length": f"{'0' * 5000}5"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    answer = server.raw(f"POST {path} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n12345".encode(), end=False)
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:200]
    assert b"Content-Length header is not a number" in answer


def test_accepts_a_search_for_a_long_list_of_uids(server: Server, datastore: str) -> None:
    uids = ",".join([UID] * 115)
    many = "&".join(["includefield=PatientName"] * 190)
    for query in (f"StudyInstanceUID={uids}&limit=5", f"{many}&limit=5"):
        reply = server.send(server.signed("GET", f"/datastore/{datastore}/studies?{query}"))
        assert (reply.status, reply.body) == (200, b"[]"), reply.body


@pytest.mark.parametrize("count", [200, 201])
def test_accepts_200_headers_and_no_more(server: Server, count: int) -> None:
    headers = b"".join(b"x-%d: y\r\n" % number for number in range(count - 2))
    answer = server.raw(GET + b"Connection: close\r\n" + headers + b"\r\n", end=False)
    assert answer.startswith(b"HTTP/1.1 200 " if count == 200 else b"HTTP/1.1 431 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_verifies_a_repeated_header_as_it_was_signed(server: Server) -> None:
    request = server.signed("GET", "/datastore", headers={"X-My": ",".join(["a"] * 100)})
    headers = [f"{name}: {value}" for name, value in request.headers.items() if name != "X-My"]
    headers += ["Host: {}:{}".format(*server.address), "Connection: close", *["X-My:  a "] * 100]
    text = "\r\n".join(["GET /datastore HTTP/1.1", *headers, "", ""])
    assert server.raw(text.encode(), end=False).startswith(b"HTTP/1.1 200 ")


def test_refuses_a_stranger_before_it_normalises_a_query(server: Server) -> None:
    client: Any = boto3.client(
        "medical-imaging",
        endpoint_url=server.url,
        region_name=REGION,
        aws_access_key_id="AKLW" + "A" * 16,
        aws_secret_access_key="s",
        config=Config(inject_host_prefix=False, retries={"total_max_attempts": 1}),
    )
    with pytest.raises(client.exceptions.ClientError, match="UnrecognizedClientException"):
        client.list_datastores()


# What asks for another protocol -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "upgrade",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\nContent-Length: 0\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_answers_what_follows_an_upgrade(server: Server, upgrade: bytes, size: int) -> None:
    request = (GET + upgrade + b"\r\n") * 2 + VERSION
    answers = _answers(server, request, size)
    assert [status for status, _ in answers] == [200, 200, 200]
    assert [b"ok" in body for _, body in answers] == [True, True, False]
    assert b"lightwell" in answers[2][1]


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("in_chunks", [False, True])
def test_reads_the_body_after_an_upgrade(server: Server, size: int, in_chunks: bool) -> None:
    # What Java's client does with every request until it knows better.
    body = b'{"datastoreName":"upgraded","clientToken":"up-%s"}' % server.root.access_key.encode()
    request = server.signed("POST", "/datastore", body)
    headers = {name: value for name, value in request.headers.items() if name != "Content-Length"}
    headers |= {"Host": "{}:{}".format(*server.address), "Connection": "Upgrade, HTTP2-Settings"}
    headers |= {"Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}
    if in_chunks:
        headers["Transfer-Encoding"] = "chunked"
        sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    else:
        headers["Content-Length"], sent = str(len(body)), body
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    text = f"POST /datastore HTTP/1.1\r\n{lines}\r\n".encode() + sent
    answers = _answers(server, text * 2 + VERSION, size)
    assert [status for status, _ in answers] == [200, 200, 200]
    assert b"datastoreId" in answers[0][1] and answers[0][1] == answers[1][1]
    assert b"lightwell" in answers[2][1]


def test_never_takes_the_body_after_an_upgrade_for_a_request(server: Server) -> None:
    head = b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(VERSION)
    answers = _answers(server, GET + head + VERSION + GET + b"Connection: close\r\n\r\n", 10_000)
    assert [body for _, body in answers] == [b'{"status":"ok"}'] * 2


@pytest.mark.parametrize("target", [b"/healthz", b"example.org:443"])
def test_closes_a_connection_on_connect(server: Server, target: bytes) -> None:
    connect = b"CONNECT " + target + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
    answers = _answers(server, GET + b"\r\n" + connect + VERSION, 10_000)
    assert [status for status, _ in answers][:1] == [200]
    assert not any(b"lightwell" in body for _, body in answers)
    (only,) = _answers(server, connect + VERSION, 10_000)
    assert only[0] == 400


def test_answers_complete_requests_before_an_invalid_one(server: Server) -> None:
    (first, second) = _answers(server, GET + b"\r\nG\0T\r\n\r\n", 10_000)
    assert (first[0], second[0]) == (200, 400)
    # This one is at work in a thread when the other comes.
    request = server.signed("GET", "/datastore")
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    text = "GET /datastore HTTP/1.1\r\nHost: {}:{}\r\n{}\r\n".format(*server.address, head)
    (first, *_) = _answers(server, text.encode() + b"G\0T\r\n\r\n", 10_000)
    assert first[0] == 200 and b"datastoreSummaries" in first[1]


def _answers(server: Server, request: bytes, size: int) -> list[tuple[int, bytes]]:
    """Statuses and bodies of all answers to bytes that are sent in pieces of ``size``."""
    content = server.raw_in_pieces(request, size)
    found = []
    while content:
        head, _, rest = content.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields[b"content-length"])
        found.append((int(head.split(b" ", 2)[1]), rest[:length]))
        content = rest[length:]
    return found
