"""The console's static files below ``/console/``: what Vite built from the folder ``console`` of the source.

Nothing here needs a signature: these are the program's own files, the same for everybody. What they show they
get from the API, with requests that the page signs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightwell.web.pages.site_folder import INDEX, TYPES, SiteBuild, SiteFile
from lightwell.web.pages.site_response import Site, moved
from lightwell.web.requests.responses import NO_STORE, Headers, Response

if TYPE_CHECKING:
    from lightwell.web.requests.request import Request
    from lightwell.web.requests.state import AppState

BASE = b"/console/"
FOLDER = Path(__file__).with_name("site")

_ASSETS = "assets/"
# Vite names what lies there by its content, so a name never means anything else.
_FOREVER = (b"cache-control", b"public, max-age=31536000, immutable")
_REVALIDATED = (b"cache-control", b"no-cache")

_PAGE = b"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>lightwell</title></head>
<body>
<h1>The console has not been built</h1>
<p>This copy of lightwell runs from its source, and the pages of its console have not been built yet. Run</p>
<pre>make console</pre>
<p>in the folder of the source, and load this page again. The server need not be restarted.</p>
</body>
</html>
"""


def policy(connects_to: Sequence[str] = ()) -> str:
    """The Content-Security-Policy of the console; ``connects_to`` are origins of an OpenID provider.

    Scripts come from this origin alone, and nothing is evaluated but WebAssembly, the codec. Workers and the
    documents that are shown in frames (encapsulated PDFs) may come from blobs that the page made.
    """
    connects = " ".join(("'self'", *connects_to))
    return (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; "
        "style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; font-src 'self'; "
        f"connect-src {connects}; frame-src blob:; manifest-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


# The first three isolate the page, which lets its workers share memory.
_HEADERS: Headers = [
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-embedder-policy", b"require-corp"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (
        b"permissions-policy",
        b"camera=(), microphone=(), geolocation=(), payment=(), usb=(), serial=()",
    ),
    (b"vary", b"accept-encoding"),
]

Origins = Callable[[], Awaitable[Sequence[str]]]
"""Finds the origins of the OpenID provider, which pages may call."""


class Console:
    """The site as one process serves it. A new build is noticed when its first page is asked for."""

    def __init__(self, state: AppState, origins: Origins | None = None, folder: Path = FOLDER) -> None:
        self._origins = origins
        self._build = SiteBuild(folder, _unchanged)
        self._site = Site(
            state, [(b"content-security-policy", policy().encode()), *_HEADERS], self._cached, self._find
        )

    def is_built(self) -> bool:
        """Whether there is a build. Blocks for as long as a `stat` takes."""
        return self._build.is_there()

    async def respond(self, request: Request) -> Response:
        """The response to a request for ``/console`` or anything below it, but the API."""
        if request.method not in ("GET", "HEAD"):
            return self._site.not_allowed()
        if request.path == BASE[:-1]:
            return moved(BASE + (b"?" + request.query if request.query else b""))
        path = request.path[len(BASE) :]
        file = await self._site.file(path)
        if file is not None:
            if path.startswith(_ASSETS.encode()):
                return self._site.response(request, file, _FOREVER)
            response = self._site.response(request, file, _REVALIDATED)
            if self._origins is not None and (connects_to := await self._origins()):
                allowed = policy(connects_to).encode()
                response.headers = [
                    (name, allowed if name == b"content-security-policy" else value)
                    for name, value in response.headers
                ]
            return response
        if self.is_built():
            return self._site.message(404, "The console has no such file.")
        response = self._site.message(503, "")
        response.body = _PAGE
        response.headers[:2] = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", b"%d" % len(_PAGE)),
        ]
        response.cache_control = NO_STORE
        return response

    def _cached(self, path: str) -> SiteFile | None:
        # Pages are looked at each time, which is how a new build is noticed.
        return self._build.files.cached(path) if path.startswith(_ASSETS) else None

    def _find(self, path: str) -> SiteFile | None:
        # Another process may have given out the page of a new build: whoever has no such file looks again.
        if not path.startswith(_ASSETS) or not self._build.files.has(path):
            self._build.notice()
        if self._build.files.has(path):
            return self._build.files.read(path)
        is_file = path.startswith(_ASSETS) or Path(path).suffix.lower() in TYPES
        # Every other address is a page, which the script on the first page shows.
        return None if is_file else self._build.files.read(INDEX)


def _unchanged(path: str, data: bytes) -> bytes:
    return data
