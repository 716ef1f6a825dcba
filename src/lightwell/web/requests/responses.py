"""Responses, and the one place that sends them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from lightwell.errors import (
    ApiError,
    ExpiredTokenError,
    MethodNotAllowedError,
    ThrottlingError,
    UnavailableError,
)
from lightwell.wire.render import render_error

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

NO_STORE = (b"cache-control", b"no-store")
PRIVATE = (b"cache-control", b"private, no-cache")
"""RFC 9111 §5.2.2: only the client may store it, and it must revalidate before each use."""

WHOLE_RESPONSE = "lightwell.response.whole"
"""An ASGI extension: one message that is a whole response, with its status, headers and body."""


@dataclass(slots=True)
class Response:
    """A response, its body whole or streamed. Header names are in lower case.

    A streamed body without a ``content-length`` is sent in chunks. ``error`` is the AWS error code, if any.
    The gateway adds the request id, Cache-Control and the CORS headers. ``cache_control`` is for what is no
    patient's. ``is_complete``: all of a streamed body was sent.
    """

    status: int
    headers: Headers
    body: bytes | AsyncIterator[bytes]
    error: str | None = None
    sent: int = 0
    is_complete: bool = False
    cache_control: tuple[bytes, bytes] | None = None

    @property
    def size(self) -> int:
        """Bytes of the body; if it is streamed, those sent so far."""
        return len(self.body) if isinstance(self.body, bytes) else self.sent


def cache_control(headers: Headers) -> tuple[bytes, bytes]:
    """The Cache-Control header of a response with these headers.

    Any response may contain patient data, so it is not stored. Only what has an ETag may be, by the client
    alone, which asks each time whether it may still see it and whether it has changed.
    """
    for name, _ in headers:
        if name == b"etag":
            return PRIVATE
    return NO_STORE


def plain(status: int, body: bytes, content_type: bytes = b"application/json") -> Response:
    """A response with a body of this type."""
    return Response(status, [(b"content-type", content_type), (b"content-length", b"%d" % len(body))], body)


def error_response(error: ApiError) -> Response:
    """``{"message": …}`` with the AWS error code in ``x-amzn-errortype``."""
    rendered = render_error(error)
    headers = list(rendered.headers)
    if isinstance(error, ThrottlingError | UnavailableError):
        headers.append((b"retry-after", b"%d" % error.retry_after))
    if isinstance(error, ExpiredTokenError):
        headers.append((b"www-authenticate", error.challenge.encode()))
    if isinstance(error, MethodNotAllowedError):
        headers.append((b"allow", error.allowed.encode()))
    return Response(rendered.status, headers, rendered.body, error.code)


def send_response(
    response: Response, send: Send, *, head_only: bool = False, supports_whole: bool = False
) -> Awaitable[None]:
    """Send a response, once what is returned is awaited; if the client is gone, nothing happens.

    With ``head_only`` a streamed body is not made, since none of it would be sent. ``supports_whole``:
    ``send`` takes `WHOLE_RESPONSE`.
    """
    body = response.body
    if supports_whole and isinstance(body, bytes):
        return send(
            {"type": WHOLE_RESPONSE, "status": response.status, "headers": response.headers, "body": body}
        )
    return _send_in_pieces(response, send, head_only)


async def _send_in_pieces(response: Response, send: Send, head_only: bool) -> None:
    body = response.body
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
        response.is_complete = True
    except ConnectionResetError:
        pass
    finally:
        if isinstance(body, AsyncGenerator):
            await body.aclose()
