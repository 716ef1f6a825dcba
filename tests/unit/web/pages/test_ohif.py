"""OHIF's files: which are served, what is changed in them, and that no request leads out of their folder."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from lightwell.errors import ConfigurationError
from lightwell.web.pages import site_folder
from lightwell.web.pages.ohif import Ohif, check_folder
from lightwell.web.requests.request import Request
from lightwell.web.requests.responses import Response
from lightwell.web.requests.state import AppState

INDEX = (
    '<script>window.PUBLIC_URL="/"</script><link href="/app.css"><meta content="/assets/tile.png">'
    '<script src="/app.js"></script><a href="//elsewhere.example/x">'
)
BUNDLE = "__webpack_require__.p = \"/\";\nvar path = '/', other = { p: '/' }; // " + "x" * 300_000


class Threads:
    """Stands in for the threads of a process."""

    async def in_thread(self, call: Callable[..., Any], *arguments: object) -> Any:
        return call(*arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    dist = tmp_path / "package" / "dist"
    (dist / "assets").mkdir(parents=True)
    for name, text in {
        "index.html": INDEX,
        "app-config.js": "window.config = 'of the build'",
        "app.js": BUNDLE,
        "min.js": 'r.p="/",r.b=1',
        "app.css": "@font-face{src:url(/a.woff2)} b{background:url(//elsewhere.example/x)}",
        "manifest.json": '{"src": "/assets/tile.png", "start_url": "/"}',
        "assets/tile.png": "picture",
        "assets/module.wasm": "wasm",
        "sw.js": "service worker",
        ".env": "secret",
        "a b.txt": "spaced",
    }.items():
        (dist / name).write_text(text)
    (tmp_path / "package" / "package.json").write_text("outside")
    (dist / "link.txt").symlink_to("../package.json")
    (dist / "up").symlink_to("..")
    os.mkfifo(dist / "pipe.txt")
    return dist


@pytest.fixture
def ask(folder: Path) -> Callable[..., Response]:
    ohif = Ohif(cast(AppState, Threads()), folder)

    def call(path: str, method: str = "GET", **headers: str) -> Response:
        scope = {
            "method": method,
            "raw_path": path.partition("?")[0].encode(),
            "query_string": path.partition("?")[2].encode(),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        }
        return asyncio.run(_whole(ohif, Request(scope, "id")))

    return call


async def _whole(ohif: Ohif, request: Request) -> Response:
    response = await ohif.respond(request)
    if not isinstance(response.body, bytes):
        response.body = b"".join([piece async for piece in response.body])
    return response


def header(response: Response, name: str) -> str:
    return next(value.decode() for key, value in response.headers if key.decode() == name)


def body(response: Response) -> str:
    assert isinstance(response.body, bytes)
    return response.body.decode()


def test_lets_a_build_for_the_root_work_below_it(ask: Callable[..., Response]) -> None:
    page = body(ask("/ohif/"))
    assert 'PUBLIC_URL="/ohif/"' in page and 'src="/ohif/app.js"' in page and 'content="/ohif/assets' in page
    assert 'href="//elsewhere.example/x"' in page
    assert body(ask("/ohif/app.js")) == BUNDLE.replace('.p = "/"', '.p = "/ohif/"')
    assert body(ask("/ohif/min.js")) == 'r.p="/ohif/",r.b=1'
    assert "url(/ohif/a.woff2)" in body(ask("/ohif/app.css"))
    assert "url(//elsewhere.example/x)" in body(ask("/ohif/app.css"))
    assert '"/ohif/assets/tile.png"' in body(ask("/ohif/manifest.json"))
    config = body(ask("/ohif/app-config.js"))
    assert "of the build" not in config and "routerBasename: '/ohif/'" in config
    moved = ask("/ohif?datastore=x")
    assert (moved.status, header(moved, "location")) == (308, "/ohif/?datastore=x")


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/ohif/app.js", "text/javascript; charset=utf-8"),
        ("/ohif/assets/tile.png", "image/png"),
        ("/ohif/assets/module.wasm", "application/wasm"),
        ("/ohif/a%20b.txt", "text/plain; charset=utf-8"),
        ("/ohif/viewer", "text/html; charset=utf-8"),
        ("/ohif/segmentation/dicomweb?StudyInstanceUIDs=1.2.3", "text/html; charset=utf-8"),
    ],
)
def test_serves_files_and_the_viewers_own_addresses(
    ask: Callable[..., Response], path: str, media_type: str
) -> None:
    answer = ask(path)
    assert (answer.status, header(answer, "content-type")) == (200, media_type)
    assert len(body(answer)) == int(header(answer, "content-length"))
    policy = header(answer, "content-security-policy")
    assert "default-src 'self'" in policy and "http" not in policy
    again = ask(path, if_none_match=f'"x", W/{header(answer, "etag")}')
    assert (again.status, body(again), header(again, "etag")) == (304, "", header(answer, "etag"))
    assert ask(path, "HEAD").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/ohif/../package.json",
        "/ohif/%2e%2e/package.json",
        "/ohif/..%2fpackage.json",
        "/ohif/assets/../../package.json",
        "/ohif/assets/%2e%2e%2f%2e%2e%2fpackage.json",
        "/ohif/..",
        "/ohif//etc/passwd.txt",
        "/ohif/%2fetc/passwd.txt",
        "/ohif/link.txt",
        "/ohif/up/package.json",
        "/ohif/up/dist/app.js",
        "/ohif/pipe.txt",
        "/ohif/.env",
        "/ohif/sw.js",
        "/ohif/nothing.js",
        "/ohif/assets/nothing.png",
        "/ohif/app.js%00.png",
        "/ohif/..\\package.json",
        "/ohif/%ff.js",
    ],
)
def test_serves_nothing_else(ask: Callable[..., Response], path: str) -> None:
    assert ask(path).status == 404


def test_only_reads(ask: Callable[..., Response]) -> None:
    refused = ask("/ohif/app.js", "POST")
    assert (refused.status, header(refused, "allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("accepted", "is_gzip"),
    [("gzip, br", True), ("br;q=1, GZIP;q=0.5", True), ("*", True), ("gzip;q=0", False), ("", False)],
)
def test_compresses_for_those_who_take_it(ask: Callable[..., Response], accepted: str, is_gzip: bool) -> None:
    plain, answer = ask("/ohif/app.js"), ask("/ohif/app.js", accept_encoding=accepted)
    assert isinstance(answer.body, bytes)
    assert (header(answer, "etag") != header(plain, "etag")) is is_gzip
    assert (gzip.decompress(answer.body) if is_gzip else answer.body) == plain.body
    assert (len(answer.body) < len(BUNDLE) / 10) is is_gzip
    assert int(header(answer, "content-length")) == len(answer.body)


def test_keeps_no_more_in_memory_than_it_says(
    ask: Callable[..., Response], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_folder, "LARGEST", 10_000)
    (folder / "huge.txt").write_bytes(bytes(10_001))
    assert ask("/ohif/huge.txt").status == 404
    assert ask("/ohif/assets/tile.png").status == 200


def test_says_which_folder_it_needs(folder: Path, tmp_path: Path) -> None:
    check_folder(folder)
    for given, expected in (
        (folder.parent, "package/dist with --ohif"),
        (tmp_path, "package/dist with --ohif"),
        (folder / "assets", "npm pack @ohif/app"),
        (tmp_path / "missing", "npm pack @ohif/app"),
    ):
        with pytest.raises(ConfigurationError, match=expected):
            check_folder(given)
