"""OHIF below ``/ohif/``: an unpacked build as npm has it, and its configuration for this server.

A published build expects to lie at ``/``. What says so in it is changed while it is served: the addresses in
``index.html`` and in style sheets, and the public path of its bundles. Nothing here needs a signature: these
are the viewer's own files. The data that it shows comes from DICOMweb, with a token of `lightwell token`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from lightwell.errors import ConfigurationError
from lightwell.web.pages.site_folder import SiteFile, SiteFolder
from lightwell.web.requests.responses import Headers, Response

if TYPE_CHECKING:
    from lightwell.web.requests.request import Request
    from lightwell.web.requests.state import AppState

BASE = b"/ohif/"
INDEX, CONFIG = "index.html", "app-config.js"
# Its service worker would keep files of another version; `init-service-worker.js` removes those of old.
_LEFT_OUT = frozenset(("sw.js", "_headers", "_redirects", "serve.json"))

_ADDRESS = re.compile(rb"""((?:href|src|content)=["'])/(?![/"'])""")
_PUBLIC_URL = re.compile(rb"""(window\.PUBLIC_URL ?= ?["'])/(["'])""")
_PUBLIC_PATH = re.compile(rb"""(\.p ?= ?["'])/(["'])""")
_STYLE_URL = re.compile(rb"""(url\(["']?)/(?!/)""")
_MANIFEST = re.compile(rb"""("(?:src|start_url)": ?")/(?!/)""")

# Everything comes from this origin, so neither images nor tokens can go elsewhere. The bundles use eval and
# WebAssembly, and start their workers from blobs.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; object-src 'self' blob:; frame-src 'self' blob:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
# The second and third let OHIF share memory among its workers.
_HEADERS: Headers = [
    (b"content-security-policy", _POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-embedder-policy", b"require-corp"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"vary", b"accept-encoding"),
]


class Ohif:
    """OHIF as one process serves it from ``folder``."""

    def __init__(self, state: AppState, folder: Path) -> None:
        self._state = state
        self._site = SiteFolder(folder, change)
        # One thread at a time: a browser asks for dozens of files at once, and other requests need threads.
        self._reading = asyncio.Lock()

    async def respond(self, request: Request) -> Response:
        """The response to a request for ``/ohif`` or anything below it."""
        if request.method not in ("GET", "HEAD"):
            response = _message(405, "GET or HEAD only.")
            response.headers.append((b"allow", b"GET, HEAD"))
            return response
        if request.path == BASE[:-1]:
            query = b"?" + request.query if request.query else b""
            return Response(308, [(b"location", BASE + query), (b"content-length", b"0")], b"")
        path = _file_path(request.path[len(BASE) :])
        file = None
        if path is not None:
            file = self._site.cached(path)
            if file is None:
                async with self._reading:
                    file = await self._state.in_thread(self._find, path)
        if file is None:
            return _message(404, "OHIF has no such file.")
        return self._response(request, file)

    def _find(self, path: str) -> SiteFile | None:
        if path in _LEFT_OUT:
            return None
        if self._site.has(path):
            return self._site.read(path)
        # A page of the viewer is an address without a file (its router shows it), and has no suffix.
        return None if "." in path.rpartition("/")[2] else self._site.read(INDEX)

    def _response(self, request: Request, file: SiteFile) -> Response:
        headers: Headers = [(b"content-type", file.media_type.encode()), *_HEADERS]
        is_gzip = file.is_gzip and _takes_gzip(request.head.get(b"accept-encoding", b""))
        # RFC 9110 §8.8.3: each encoding has its own ETag.
        etag = file.etag[:-1] + b'-gzip"' if is_gzip else file.etag
        headers.append((b"etag", etag))
        known = request.head.get(b"if-none-match", b"")
        if etag in [tag.strip().removeprefix(b"W/") for tag in known.split(b",")]:
            return Response(304, headers, b"")
        if is_gzip:
            headers += [(b"content-encoding", b"gzip"), (b"content-length", b"%d" % len(file.data))]
            return Response(200, headers, file.data)
        headers.append((b"content-length", b"%d" % file.size))
        return Response(200, headers, self._pieces(file) if file.is_gzip else file.data)

    async def _pieces(self, file: SiteFile) -> AsyncIterator[bytes]:
        pieces = file.pieces()
        while (piece := await self._state.in_thread(partial(next, pieces, None))) is not None:
            yield piece


def check_folder(folder: Path) -> None:
    """Raises `ConfigurationError` unless the folder holds a build of OHIF."""
    if (folder / INDEX).is_file() and (folder / CONFIG).is_file():
        return
    for inside in (folder / "dist", folder / "package" / "dist"):
        if (inside / INDEX).is_file():
            raise ConfigurationError(f"{folder} is not the viewer itself: give {inside} with --ohif")
    raise ConfigurationError(
        f"{folder} holds no OHIF: it has no {INDEX} and {CONFIG}. Unpack what `npm pack @ohif/app` "
        "downloads, and give its folder package/dist with --ohif"
    )


def change(path: str, data: bytes) -> bytes:
    """A file of a published build, as it must be to work below `BASE`."""
    if path == CONFIG:
        return Path(__file__).with_name("ohif_config.js").read_bytes()
    name = path.rpartition("/")[2]
    if name.endswith(".html"):
        data = _PUBLIC_URL.sub(rb"\1" + BASE + rb"\2", data)
        return _ADDRESS.sub(rb"\1" + BASE, data)
    if name.endswith(".js"):
        return _PUBLIC_PATH.sub(rb"\1" + BASE + rb"\2", data)
    if name.endswith(".css"):
        return _STYLE_URL.sub(rb"\1" + BASE, data)
    if name == "manifest.json":
        return _MANIFEST.sub(rb"\1" + BASE, data)
    return data


def _file_path(path: bytes) -> str | None:
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


def not_served() -> Response:
    """What a server without OHIF answers to somebody who follows a link into it."""
    return _message(404, "This server has no OHIF: start it with `lightwell serve --ohif DIST`.")


def _message(status: int, text: str) -> Response:
    body = text.encode() + b"\n"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    return Response(status, [*headers, *_HEADERS], body)
