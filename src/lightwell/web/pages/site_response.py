"""Files of a `SiteFolder` as responses: paths, compression, validators; of OHIF and of the console."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from lightwell.web.pages.site_folder import INDEX, SiteFile
from lightwell.web.requests.responses import Headers, Response

if TYPE_CHECKING:
    from lightwell.web.requests.request import Request
    from lightwell.web.requests.state import AppState


class Site:
    """A static site as one process serves it, with these headers on every response.

    ``cached`` returns a file that is in memory; ``find`` reads it, and blocks. Both take a path relative to
    the site.
    """

    def __init__(
        self,
        state: AppState,
        headers: Headers,
        cached: Callable[[str], SiteFile | None],
        find: Callable[[str], SiteFile | None],
    ) -> None:
        self._state = state
        self._headers = headers
        self._cached = cached
        self._find = find
        # One thread at a time: a browser asks for dozens of files at once, and other requests need threads.
        self._reading = asyncio.Lock()

    async def file(self, path: bytes) -> SiteFile | None:
        """The file that the rest of a URL's path names; None if there is none."""
        name = file_path(path)
        if name is None:
            return None
        found = self._cached(name)
        if found is None:
            async with self._reading:
                found = await self._state.in_thread(self._find, name)
        return found

    def response(
        self, request: Request, file: SiteFile, cache_control: tuple[bytes, bytes] | None = None
    ) -> Response:
        """The file, or 304 if the client has it already."""
        headers: Headers = [(b"content-type", file.media_type.encode()), *self._headers]
        is_gzip = file.is_gzip and _takes_gzip(request.head.get(b"accept-encoding", b""))
        # RFC 9110 §8.8.3: each encoding has its own ETag.
        etag = file.etag[:-1] + b'-gzip"' if is_gzip else file.etag
        headers.append((b"etag", etag))
        known = request.head.get(b"if-none-match", b"")
        if etag in [tag.strip().removeprefix(b"W/") for tag in known.split(b",")]:
            return Response(304, headers, b"", cache_control=cache_control)
        if is_gzip:
            headers += [(b"content-encoding", b"gzip"), (b"content-length", b"%d" % len(file.data))]
            return Response(200, headers, file.data, cache_control=cache_control)
        headers.append((b"content-length", b"%d" % file.size))
        body = self._pieces(file) if file.is_gzip else file.data
        return Response(200, headers, body, cache_control=cache_control)

    async def _pieces(self, file: SiteFile) -> AsyncIterator[bytes]:
        pieces = file.pieces()
        while (piece := await self._state.in_thread(partial(next, pieces, None))) is not None:
            yield piece

    def message(self, status: int, text: str) -> Response:
        """A line for a person who looks at it in a browser."""
        return message(status, text, self._headers)

    def not_allowed(self) -> Response:
        """What a request gets that is neither a GET nor a HEAD."""
        response = self.message(405, "GET or HEAD only.")
        response.headers.append((b"allow", b"GET, HEAD"))
        return response


def message(status: int, text: str, more: Headers) -> Response:
    """A line of text for a person, with these headers besides its own."""
    body = text.encode() + b"\n"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    return Response(status, [*headers, *more], body)


def moved(to: bytes, status: int = 308) -> Response:
    return Response(status, [(b"location", to), (b"content-length", b"0")], b"")


def file_path(path: bytes) -> str | None:
    """The path of a file in the folder; None if no file can have it."""
    try:
        text = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return None
    if "\0" in text or "\\" in text or any(part in (".", "..") for part in text.split("/")):
        return None
    return text or INDEX


def _takes_gzip(accepted: bytes) -> bool:
    for coding in accepted.lower().split(b","):
        name, _, weight = coding.partition(b";")
        if name.strip() in (b"gzip", b"*"):
            return weight.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False
