"""One request, as the gateway carries it through its life."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightwell.auth.authentication import SignedRequest
from lightwell.errors import TooLargeError, UriTooLongError, ValidationError
from lightwell.web.requests.responses import Receive

# What a native operation may send. The largest legal one, CopiableAttributes, is 260,000 characters.
BODY_LIMIT = 1 << 20
# What is written once more and hashed before it is known who asks. A path may list frames, a query UIDs.
MAX_PATH = 16 << 10
MAX_QUERY = 8 << 10
MAX_QUERY_PARAMETERS = 200
# Of a body that is too large this much is read and dropped, so that the client gets to read the refusal.
_DRAIN_LIMIT = 16 << 20

# What is counted and logged of requests that reach no operation.
UNKNOWN, PREFLIGHT, STATUS = "Unknown", "Preflight", "Status"
OTHERS = (UNKNOWN, PREFLIGHT, STATUS)


class Disconnected(Exception):
    """The client went away before its request was complete."""


class Request:
    """The parts of the ASGI scope that matter, and what became known on the way."""

    __slots__ = (
        "caller",
        "head",
        "headers",
        "id",
        "method",
        "operation",
        "path",
        "query",
        "received",
        "scope",
    )

    def __init__(self, scope: Mapping[str, Any], id: str) -> None:
        self.scope = scope
        self.id = id
        self.method: str = scope["method"]
        self.path: bytes = scope["raw_path"]
        self.query: bytes = scope["query_string"]
        self.headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.head = dict(self.headers)
        self.operation = UNKNOWN
        self.caller: str | None = None
        self.received = 0

    @property
    def client(self) -> str | None:
        peer = self.scope.get("client")
        return peer[0] if peer else None

    def check_size(self) -> None:
        """Raises `UriTooLongError` or `ValidationError` for a path or query that nobody has to send."""
        if len(self.query) > MAX_QUERY:
            raise UriTooLongError(
                f"The query is {len(self.query)} bytes long, and may be {MAX_QUERY}: "
                "ask for fewer values at once, in several requests."
            )
        if self.query.count(b"&") >= MAX_QUERY_PARAMETERS:
            raise ValidationError(
                f"The query has more than {MAX_QUERY_PARAMETERS} parameters: ask for fewer values at once, in "
                "several requests, or give them as one list where the parameter takes one."
            )
        if len(self.path) > MAX_PATH:
            raise UriTooLongError(
                f"The path is {len(self.path)} bytes long, and may be {MAX_PATH}: "
                "ask for fewer frames at once, in several requests."
            )

    def signed(self) -> SignedRequest:
        return SignedRequest(self.method, self.path, self.query, self.headers)

    async def body(self, receive: Receive, limit: int = BODY_LIMIT) -> bytes:
        """The whole body.

        Raises `TooLargeError` above ``limit`` bytes, `Disconnected`. How long it may take is the protocol's
        concern (`web.http1.protocol`).
        """
        declared = self.head.get(b"content-length")
        if (declared is None and b"transfer-encoding" not in self.head) or declared == b"0":
            return b""
        if declared is not None and not declared.isdigit():
            raise ValidationError("The Content-Length header is not a number.")
        if declared is not None and int(declared) > limit and self._is_refused_unread(int(declared)):
            raise TooLargeError(_too_large(limit))
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        body: bytes = message["body"]
        if not message["more_body"] and len(body) <= limit:
            self.received = len(body)
            return body
        return await self._rest(receive, body, bool(message["more_body"]), limit)

    async def _rest(self, receive: Receive, first: bytes, more: bool, limit: int) -> bytes:
        parts, size = [first], len(first)
        while more:
            if size > limit:
                parts.clear()
                if size > _DRAIN_LIMIT:
                    break
            message = await receive()
            if message["type"] != "http.request":
                raise Disconnected
            size += len(message["body"])
            parts.append(message["body"])
            more = message["more_body"]
        self.received = size
        if size > limit:
            raise TooLargeError(_too_large(limit))
        return b"".join(parts)

    def _is_refused_unread(self, declared: int) -> bool:
        """Whether the client need not, or should not, send what it announced."""
        return declared > _DRAIN_LIMIT or b"expect" in self.head


def _too_large(limit: int) -> str:
    return f"The request body is larger than {limit} bytes."
