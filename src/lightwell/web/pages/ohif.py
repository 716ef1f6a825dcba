"""OHIF below ``/ohif/``: an unpacked build as npm has it, and its configuration for this server.

A published build expects to lie at ``/``. What says so in it is changed while it is served: the addresses in
``index.html`` and in style sheets, and the public path of its bundles. Nothing here needs a signature: these
are the viewer's own files. The data that it shows comes from DICOMweb, with a token of `lightwell token` or
one that the console hands on.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from lightwell.errors import ConfigurationError
from lightwell.web.pages.site_folder import INDEX, SiteBuild, SiteFile
from lightwell.web.pages.site_response import Site, message, moved
from lightwell.web.requests.responses import Headers, Response

if TYPE_CHECKING:
    from lightwell.web.requests.request import Request
    from lightwell.web.requests.state import AppState

BASE = b"/ohif/"
CONFIG = "app-config.js"
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
    """OHIF as one process serves it from ``folder``, if it is there; another is noticed by its first page."""

    def __init__(self, state: AppState, folder: Path) -> None:
        self._build = SiteBuild(folder, change)
        self._site = Site(state, _HEADERS, self._cached, self._find)

    def is_installed(self) -> bool:
        """Whether there is one. Blocks for as long as a `stat` takes."""
        return self._build.is_there()

    async def respond(self, request: Request) -> Response:
        """The response to a request for ``/ohif`` or anything below it."""
        if request.method not in ("GET", "HEAD"):
            return self._site.not_allowed()
        if not self.is_installed():
            return not_served()
        if request.path == BASE[:-1]:
            return moved(BASE + (b"?" + request.query if request.query else b""))
        file = await self._site.file(request.path[len(BASE) :])
        if file is None:
            return self._site.message(404, "OHIF has no such file.")
        return self._site.response(request, file)

    def _cached(self, path: str) -> SiteFile | None:
        # Pages are looked at each time, which is how another build is noticed.
        return None if path == INDEX else self._build.files.cached(path)

    def _find(self, path: str) -> SiteFile | None:
        if path == INDEX:
            self._build.notice()
        if path in _LEFT_OUT:
            return None
        if self._build.files.has(path):
            return self._build.files.read(path)
        # A page of the viewer is an address without a file (its router shows it), and has no suffix.
        if "." in path.rpartition("/")[2]:
            return None
        self._build.notice()
        return self._build.files.read(INDEX)


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


def not_served() -> Response:
    """What a server without OHIF answers to somebody who follows a link into it."""
    text = "This server has no OHIF: `lightwell ohif install` on its machine fetches it."
    return message(404, text, _HEADERS)
