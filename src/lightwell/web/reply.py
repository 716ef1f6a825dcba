"""Answers, and the one place that writes them to a connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from lightwell.errors import ApiError, MethodNotAllowedError, ThrottlingError
from lightwell.wire.render import render_error

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Answer:
    """An answer, its body whole or in pieces. Header names are in lower case, with ``content-length``.

    ``error`` is the AWS name where it is a refusal. The id of the request and the CORS headers are added by
    the gateway.
    """

    status: int
    headers: Headers
    body: bytes | AsyncIterator[bytes]
    error: str | None = None

    @property
    def size(self) -> int:
        """Bytes of the body."""
        if isinstance(self.body, bytes):
            return len(self.body)
        return next(int(value) for name, value in self.headers if name == b"content-length")


def plain(status: int, body: bytes, content_type: bytes = b"application/json") -> Answer:
    """An answer of one body."""
    return Answer(status, [(b"content-type", content_type), (b"content-length", b"%d" % len(body))], body)


def refusal(error: ApiError) -> Answer:
    """``{"message": …}`` with the AWS name in ``x-amzn-errortype``."""
    rendered = render_error(error)
    headers = list(rendered.headers)
    if isinstance(error, ThrottlingError):
        headers.append((b"retry-after", b"%d" % error.retry_after))
    if isinstance(error, MethodNotAllowedError):
        headers.append((b"allow", error.allowed.encode()))
    return Answer(rendered.status, headers, rendered.body, error.code)


async def write(answer: Answer, send: Send) -> None:
    """Write the answer; on a connection that is gone, nothing happens."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    if isinstance(answer.body, bytes):
        await send({"type": "http.response.body", "body": answer.body})
        return
    async for piece in answer.body:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
