"""An answer as it is sent: status, headers, bytes.

Members that are None are left out, which every SDK reads as null; timestamps are epoch seconds as a number
with a fraction. The request id is not part of the model: the gateway adds its header.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from lightwell.errors import ApiError
from lightwell.wire.route import Route

_JSON = (b"content-type", b"application/json")
_BINARY = b"application/octet-stream"
_LONGEST_MESSAGE = 2048

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class WireResponse:
    """A complete answer; `headers` have lower-case names and include content-length."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def render(route: Route, response: msgspec.Struct) -> WireResponse:
    """The answer of an operation: JSON, or the blob itself with headers from its other members."""
    if route.blob is None:
        body = _encode(response)
        return WireResponse(route.status, [_JSON, (b"content-length", b"%d" % len(body))], body)
    content: bytes = getattr(response, route.blob)
    headers = []
    for name, attribute in route.headers:
        value: str | None = getattr(response, attribute)
        if value is not None:
            headers.append((name.encode(), value.encode("latin-1")))
        elif name == "content-type":
            headers.append((b"content-type", _BINARY))
    headers.append((b"content-length", b"%d" % len(content)))
    return WireResponse(route.status, headers, content)


def render_error(error: ApiError) -> WireResponse:
    """``{"message": …}`` with the AWS name in ``x-amzn-errortype``, where the SDKs look for it first."""
    text = "".join(c if c.isprintable() else " " for c in error.message[:_LONGEST_MESSAGE])
    body = _encode({"message": text})
    headers = [
        (b"x-amzn-errortype", error.code.encode("latin-1")),
        _JSON,
        (b"content-length", b"%d" % len(body)),
    ]
    return WireResponse(error.status, headers, body)
