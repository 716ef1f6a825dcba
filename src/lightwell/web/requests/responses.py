"""Answers, and the one place that writes them to a connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from lightwell.errors import ApiError, MethodNotAllowedError, ThrottlingError, UnavailableError
from lightwell.wire.render import render_error

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

NO_STORE = (b"cache-control", b"no-store")
PRIVATE = (b"cache-control", b"private, no-cache")
"""RFC 9111 §5.2.2: kept by the client alone, which asks again before it uses what it kept."""

WHOLE_RESPONSE = "lightwell.response.whole"
"""An extension of ASGI: the message that is an answer in one, with its status, headers and body."""


@dataclass(slots=True)
class Response:
    """An answer, its body whole or in pieces. Header names are in lower case.

    A body in pieces without a ``content-length`` goes out in chunks. ``error`` is the AWS name where it is a
    refusal. The id of the request, Cache-Control and the CORS headers are added by the gateway.
    """

    status: int
    headers: Headers
    body: bytes | AsyncIterator[bytes]
    error: str | None = None
    sent: int = 0

    @property
    def size(self) -> int:
        """Bytes of the body; of one in pieces, those sent so far."""
        return len(self.body) if isinstance(self.body, bytes) else self.sent


def cache_control(headers: Headers) -> tuple[bytes, bytes]:
    """The Cache-Control of an answer with these headers.

    Any answer may tell of a patient, so nobody keeps it. A client alone may keep what has an ETag: whether it
    still may see it, and whether it is still the same, is asked each time.
    """
    for name, _ in headers:
        if name == b"etag":
            return PRIVATE
    return NO_STORE


def plain(status: int, body: bytes, content_type: bytes = b"application/json") -> Response:
    """An answer of one body."""
    return Response(status, [(b"content-type", content_type), (b"content-length", b"%d" % len(body))], body)


def error_response(error: ApiError) -> Response:
    """``{"message": …}`` with the AWS name in ``x-amzn-errortype``."""
    rendered = render_error(error)
    headers = list(rendered.headers)
    if isinstance(error, ThrottlingError | UnavailableError):
        headers.append((b"retry-after", b"%d" % error.retry_after))
    if isinstance(error, MethodNotAllowedError):
        headers.append((b"allow", error.allowed.encode()))
    return Response(rendered.status, headers, rendered.body, error.code)


async def send_response(
    response: Response, send: Send, *, head_only: bool = False, supports_whole: bool = False
) -> None:
    """Send a response; if the client is gone, nothing happens.

    With ``head_only`` a streamed body is not made, since none of it would be sent. ``supports_whole``:
    ``send`` takes `WHOLE_RESPONSE`.
    """
    body = response.body
    if supports_whole and isinstance(body, bytes):
        await send(
            {"type": WHOLE_RESPONSE, "status": response.status, "headers": response.headers, "body": body}
        )
        return
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    if isinstance(body, bytes):
        await send({"type": "http.response.body", "body": body})
        return
    try:
        if not head_only:
            async for piece in body:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                response.sent += len(piece)
        await send({"type": "http.response.body", "body": b""})
    except ConnectionResetError:
        pass
    finally:
        if isinstance(body, AsyncGenerator):
            await body.aclose()
