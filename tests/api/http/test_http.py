"""HTTP itself: what is malformed, too large, too slow or too many."""

from __future__ import annotations

import json
import resource
import socket
import time
from contextlib import ExitStack
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from lightwell.web.http1.protocol import HEAD_SECONDS
from tests.support.server import Server

LIMIT = 1 << 20


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_answers_with_an_id_and_errors_with_a_type(server: Server, client: Any) -> None:
    first, second = (server.send(server.signed("GET", "/datastore")) for _ in range(2))
    assert first.headers["x-amzn-requestid"] != second.headers["x-amzn-requestid"]
    reply = server.send(server.signed("GET", f"/datastore/{'0' * 32}"))
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (404, "ResourceNotFoundException")
    assert reply.headers["content-type"] == "application/json"
    assert list(json.loads(reply.body)) == ["message"]


def test_says_what_is_not_implemented(server: Server) -> None:
    path = f"/datastore/{'0' * 32}/imageSet/{'0' * 32}/deleteImageSet"
    reply = server.send(server.signed("POST", path))
    assert reply.status in (404, 501)
    if reply.status == 501:
        assert reply.headers["x-amzn-errortype"] == "NotImplementedException"
        assert "DeleteImageSet" in json.loads(reply.body)["message"]


def test_refuses_what_is_not_http(server: Server) -> None:
    for data in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /datastore HTTP/9.9\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHo st: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\x00y\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: ten\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n",
        b"CONNECT /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    ):
        answer = server.raw(data)
        assert status_of(answer) in (400, 403, 404), data
        assert b"x-amzn-requestid: " in answer, data
        assert b"x-amzn-errortype: " in answer, data
    assert server.call("GET", "/healthz").status == 200


def test_answers_one_request_after_another_on_a_connection(server: Server) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert server.raw(request * 5 + last, end=False).count(b"HTTP/1.1 200") == 6


def test_answers_an_old_client(server: Server) -> None:
    assert status_of(server.raw(b"GET /healthz HTTP/1.0\r\n\r\n")) == 200


def test_refuses_a_head_that_is_too_large(server: Server) -> None:
    with socket.create_connection(server.address, timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        answer = b""
        try:
            for number in range(100_000):
                connection.sendall(b"x-header-%d: " % number + b"a" * 1000 + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            answer = connection.recv(65536)
        except ConnectionResetError:
            return
    assert status_of(answer) == 431


def test_refuses_a_body_that_is_too_large(server: Server) -> None:
    for size in (LIMIT + 1, 5 * LIMIT):
        reply = server.send(server.signed("POST", "/datastore", b"a" * size))
        assert (reply.status, reply.headers["x-amzn-errortype"]) == (413, "RequestEntityTooLargeException")
    reply = server.send(server.signed("POST", "/datastore", b" " * LIMIT))
    assert reply.status == 400


def test_refuses_a_body_that_is_too_large_before_it_is_sent(server: Server) -> None:
    request = server.signed("POST", "/datastore", b"", headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    head = "".join(
        f"{name}: {value}\r\n" for name, value in request.headers.items() if name != "Content-Length"
    )
    host = "{}:{}".format(*server.address)
    text = f"POST /datastore HTTP/1.1\r\nHost: {host}\r\n{head}Content-Length: 99999999999\r\n\r\n"
    with socket.create_connection(server.address, timeout=30) as connection:
        connection.sendall(text.encode())
        assert status_of(connection.recv(65536)) == 413


def test_accepts_a_chunked_body(server: Server) -> None:
    body = b'{"datastoreName":"chunked","clientToken":"%s"}' % server.root.access_key.encode()
    request = server.signed("POST", "/datastore", body)
    head = "".join(
        f"{name}: {value}\r\n" for name, value in request.headers.items() if name != "Content-Length"
    )
    host = "{}:{}".format(*server.address)
    more = "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    text = f"POST /datastore HTTP/1.1\r\nHost: {host}\r\n{head}{more}"
    pieces = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:9], body[9:])]
    assert status_of(server.raw(text.encode() + b"".join(pieces) + b"0\r\n\r\n", end=False)) == 200
    endless = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    with socket.create_connection(server.address, timeout=30) as connection:
        connection.sendall(text.encode())
        try:
            for _ in range(17):
                connection.sendall(endless)
            connection.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert status_of(connection.recv(65536)) == 413


def test_does_not_wait_for_a_client_that_goes_away(server: Server) -> None:
    request = server.signed("POST", "/datastore", b"{}")
    head = "".join(
        f"{name}: {value}\r\n" for name, value in request.headers.items() if name != "Content-Length"
    )
    for text in ("GET /datastore HT", f"POST /datastore HTTP/1.1\r\n{head}Content-Length: 100\r\n\r\nhalf"):
        with socket.create_connection(server.address, timeout=30) as connection:
            connection.sendall(text.encode())
    assert server.call("GET", "/healthz").status == 200


def test_serves_others_despite_1000_idle_connections(server: Server, client: Any) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for _ in range(5):
        with ExitStack() as stack:
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
            began = time.monotonic()
            for number in range(1000):
                connection = stack.enter_context(socket.create_connection(server.address, timeout=30))
                if number % 2:
                    connection.sendall(b"GET /datastore HTTP/1.1\r\nHost: x\r\n")
            client.list_datastores(maxResults=1)
            families = {family.name: family for family in metrics(server)}
            count = families["lightwell_connections"].samples[0].value
        if time.monotonic() - began < HEAD_SECONDS:
            break  # else the first have been closed again, and it begins anew
    assert count >= 1000


def metrics(server: Server) -> list[Any]:
    return list(text_string_to_metric_families(server.call("GET", "/metrics").body.decode()))


def test_counts_requests_in_the_words_of_prometheus(server: Server, client: Any) -> None:
    def listed() -> float:
        samples = (sample for family in metrics(server) for sample in family.samples)
        labels = {"operation": "ListDatastores", "status": "200"}
        values = (s.value for s in samples if s.name == "lightwell_requests_total" and s.labels == labels)
        return float(sum(values))

    before = listed()
    client.list_datastores(maxResults=1)
    assert listed() == before + 1
    by_name = {family.name: family for family in metrics(server)}
    histogram = [
        s for s in by_name["lightwell_request_seconds"].samples if s.labels["operation"] == "ListDatastores"
    ]
    buckets = [s.value for s in histogram if s.name.endswith("_bucket")]
    assert buckets == sorted(buckets)
    assert [s.value for s in histogram if s.name.endswith("_count")] == [buckets[-1]]


def test_counts_import_jobs_of_the_work_process(server: Server, client: Any, datastore: str) -> None:
    (server.data / "buckets" / "empty").mkdir(exist_ok=True)
    client.start_dicom_import_job(
        datastoreId=datastore,
        dataAccessRoleArn="arn:aws:iam::000000000000:role/import",
        inputS3Uri="s3://empty/in/",
        outputS3Uri="s3://empty/out/",
    )
    for _ in range(300):
        samples = (sample for family in metrics(server) for sample in family.samples)
        failed = {"status": "FAILED"}
        if any(s.name == "lightwell_import_jobs_total" and s.labels == failed and s.value for s in samples):
            return
        time.sleep(0.1)
    raise AssertionError("the job was never counted")


def test_lets_browsers_call_from_anywhere(server: Server) -> None:
    asked = {
        "Origin": "https://viewer.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,x-amz-date,amz-sdk-request",
    }
    reply = server.call("OPTIONS", "/datastore", headers=asked)
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["access-control-allow-origin"] == "*"
    assert reply.headers["access-control-allow-headers"] == asked["Access-Control-Request-Headers"]
    assert "POST" in reply.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in reply.headers
    reply = server.call("GET", "/datastore", headers={"Origin": "https://viewer.example"})
    assert reply.status == 403
    assert reply.headers["access-control-allow-origin"] == "*"
    exposed = reply.headers["access-control-expose-headers"].split(", ")
    assert {"x-amzn-errortype", "www-authenticate"} <= set(exposed)


def test_tells_its_version(server: Server) -> None:
    assert json.loads(server.call("GET", "/version").body)["name"] == "lightwell"


def test_is_ready(server: Server) -> None:
    checks = {"database": "ok", "schema": "ok", "storage": "ok", "audit": "ok"}
    assert json.loads(server.call("GET", "/readyz").body) == {"status": "ready", "checks": checks}
