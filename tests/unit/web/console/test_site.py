"""The console's static files: which are served, how, and what their headers allow."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from lightwell.web.console.site import Console, policy
from lightwell.web.requests.request import Request
from lightwell.web.requests.responses import Response
from lightwell.web.requests.state import AppState

SCRIPT = b"console.log(1);\n" * 200


class _State:
    async def in_thread(self, call: Callable[..., Any], *arguments: object) -> Any:
        return call(*arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    built = tmp_path / "site"
    (built / "assets").mkdir(parents=True)
    (built / "index.html").write_text("<!doctype html><title>first</title>")
    (built / "assets" / "app-1a2b.js").write_bytes(SCRIPT)
    (built / "assets" / "codec-1a2b.wasm").write_bytes(b"\0asm")
    return built


def get(console: Console, path: str, method: str = "GET", **headers: str) -> Response:
    scope = {
        "method": method,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    return asyncio.run(console.respond(Request(scope, "id")))


def site(folder: Path) -> Console:
    return Console(cast(AppState, _State()), folder=folder)


def body(response: Response) -> bytes:
    if isinstance(response.body, bytes):
        return response.body

    async def whole(pieces: AsyncIterator[bytes]) -> bytes:
        return b"".join([piece async for piece in pieces])

    return asyncio.run(whole(response.body))


def test_serves_assets_for_ever(folder: Path) -> None:
    console = site(folder)
    for accepted, coding in (("gzip", b"gzip"), ("identity", None)):
        response = get(console, "/console/assets/app-1a2b.js", accept_encoding=accepted)
        headers = dict(response.headers)
        assert response.status == 200 and headers.get(b"content-encoding") == coding
        assert headers[b"content-type"] == b"text/javascript; charset=utf-8"
        assert response.cache_control == (b"cache-control", b"public, max-age=31536000, immutable")
        found = body(response)
        assert (gzip.decompress(found) if coding else found) == SCRIPT
    again = get(console, "/console/assets/app-1a2b.js", if_none_match=headers[b"etag"].decode())
    assert again.status == 304
    wasm = get(console, "/console/assets/codec-1a2b.wasm")
    assert dict(wasm.headers)[b"content-type"] == b"application/wasm"


@pytest.mark.parametrize("path", ["", "studies", "datastores/abc/imagesets/1.2.840.3", "view/x?"])
def test_shows_the_first_page_at_every_address_of_a_page(folder: Path, path: str) -> None:
    response = get(site(folder), f"/console/{path}")
    assert response.status == 200 and b"first" in body(response)
    assert response.cache_control == (b"cache-control", b"no-cache")
    assert dict(response.headers)[b"content-type"] == b"text/html; charset=utf-8"


@pytest.mark.parametrize(
    "path", ["assets/gone.js", "favicon.ico", "%2e%2e/site.py", "assets/%2e%2e/x", "%ff"]
)
def test_has_no_other_files(folder: Path, path: str) -> None:
    assert get(site(folder), f"/console/{path}").status == 404


def test_answers_get_and_head_only(folder: Path) -> None:
    console = site(folder)
    refused = get(console, "/console/", "POST")
    assert refused.status == 405 and (b"allow", b"GET, HEAD") in refused.headers
    assert get(console, "/console/", "HEAD").status == 200
    moved = get(console, "/console")
    assert moved.status == 308 and (b"location", b"/console/") in moved.headers


def test_notices_a_build(folder: Path, tmp_path: Path) -> None:
    console = site(tmp_path / "none")
    missing = get(console, "/console/studies")
    assert missing.status == 503 and b"make console" in body(missing) and not console.is_built()
    folder.rename(tmp_path / "none")
    assert b"first" in body(get(console, "/console/")) and console.is_built()
    (tmp_path / "none" / "index.html").write_text("<!doctype html><title>second build</title>")
    (tmp_path / "none" / "assets" / "app-2.js").write_bytes(SCRIPT)
    assert b"second" in body(get(console, "/console/"))
    assert get(console, "/console/assets/app-2.js").status == 200


def test_has_the_files_of_a_build_whose_page_another_process_sent(folder: Path, tmp_path: Path) -> None:
    console = site(folder)
    assert get(console, "/console/").status == 200
    folder.rename(tmp_path / "old")
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>second, and longer</title>")
    (folder / "assets" / "app-3c4d.js").write_bytes(SCRIPT)
    assert get(console, "/console/assets/app-3c4d.js").status == 200
    assert get(console, "/console/assets/app-1a2b.js").status == 404


def test_is_isolated_and_takes_nothing_from_elsewhere(folder: Path) -> None:
    for path in ("", "assets/app-1a2b.js", "assets/gone.js"):
        headers = dict(get(site(folder), f"/console/{path}").headers)
        allowed = headers[b"content-security-policy"].decode()
        assert "default-src 'none'" in allowed and "unsafe-inline" not in allowed
        assert (
            "'unsafe-eval'" not in allowed and "http" not in allowed and "frame-ancestors 'none'" in allowed
        )
        assert headers[b"cross-origin-opener-policy"] == b"same-origin"
        assert headers[b"cross-origin-embedder-policy"] == b"require-corp"
        assert headers[b"cross-origin-resource-policy"] == b"same-origin"
        assert headers[b"x-content-type-options"] == b"nosniff"
        assert headers[b"referrer-policy"] == b"no-referrer"


def test_pages_may_call_the_openid_provider(folder: Path) -> None:
    async def origins() -> list[str]:
        return ["https://id.example"]

    console = Console(cast(AppState, _State()), origins, folder)
    allowed = [
        value for name, value in get(console, "/console/").headers if name == b"content-security-policy"
    ]
    assert allowed == [policy(["https://id.example"]).encode()]
    assert b"connect-src 'self' https://id.example;" in allowed[0]
