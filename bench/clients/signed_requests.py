"""The requests that an unmodified boto3 sends, as bytes that can be sent again and again."""

from __future__ import annotations

import http.client
import socket
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from bench.clients.http_load import Request


class Signer:
    """Takes the signed requests that a client would send, without sending them."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._taken: list[AWSPreparedRequest] = []
        client.meta.events.register("before-send.medical-imaging", self._take)

    def __call__(self, operation: str, **parameters: object) -> Request:
        """The bytes of one call, good for 15 minutes and as often as wanted."""
        self._taken.clear()
        getattr(self._client, operation)(**parameters)
        return Request(_as_bytes(self._taken.pop()))

    def _take(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        self._taken.append(request)
        return _Empty(request.url, 200, {}, None)


class _Empty(AWSResponse):  # type: ignore[misc]
    """An answer without content, so that botocore has something to read."""

    content = b"{}"


def _as_bytes(request: AWSPreparedRequest) -> bytes:
    _scheme, _, rest = request.url.partition("://")
    host, slash, path = rest.partition("/")
    headers = {
        key: value.decode("latin-1") if isinstance(value, bytes) else str(value)
        for key, value in request.headers.items()
    }
    body = request.body or b""
    if not isinstance(body, bytes):
        body = body.encode() if isinstance(body, str) else body.read()
    headers.setdefault("Host", host)
    headers.setdefault("Content-Length", str(len(body)))
    headers.setdefault("Accept-Encoding", "identity")
    lines = [
        f"{request.method} {slash}{path} HTTP/1.1",
        *(f"{key}: {value}" for key, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def exchange(address: tuple[str, int], request: Request) -> tuple[int, dict[str, str], bytes]:
    """Sends one prepared request; (status, headers by lower-case name, body)."""
    with socket.create_connection(address, timeout=600) as connection:
        return exchange_on(connection, request)


def exchange_on(connection: socket.socket, request: Request) -> tuple[int, dict[str, str], bytes]:
    """As `exchange`, on a connection that stays open."""
    connection.sendall(request.data)
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    body = answer.read()
    return answer.status, {key.lower(): value for key, value in answer.getheaders()}, body
