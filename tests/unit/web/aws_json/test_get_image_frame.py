"""Frames whose bytes are not where they should be, or not in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from lightwell.clock import Clock
from lightwell.errors import InternalError
from lightwell.operations.get_image_frame import FramePage, FramePages, FrameReader
from lightwell.stores import Stores
from lightwell.web.aws_json import get_image_frame
from lightwell.web.aws_json.get_image_frame import serve_frame
from lightwell.web.requests.request import Request
from lightwell.web.requests.responses import Response
from lightwell.web.requests.state import AppState
from tests.support import image_set_builders
from tests.support.image_set_builders import BuiltInstance, BuiltSet


@dataclass
class State:
    """What of the application's state a frame touches."""

    frames: FrameReader
    threads: ThreadPoolExecutor
    in_thread = AppState.in_thread


@pytest.fixture
def stores(migrated_sqlite_url: str, tmp_path: Path) -> Iterator[Stores]:
    found = image_set_builders.open_at(tmp_path, migrated_sqlite_url)
    yield found
    found.close()


def serve(stores: Stores, built: BuiltSet, frame: str) -> tuple[Response, bytes]:
    """The answer and its whole body."""

    async def ask() -> tuple[Response, bytes]:
        with ThreadPoolExecutor(1) as threads:
            state = cast(AppState, State(FrameReader(stores, Clock()), threads))
            scope = {"method": "POST", "raw_path": b"", "query_string": b"", "headers": []}
            params = {"datastoreId": built.datastore_id, "imageSetId": built.id}
            answer = await serve_frame(
                state, Request(scope, "id"), params, b'{"imageFrameId":"%s"}' % frame.encode()
            )
            if isinstance(answer.body, bytes):
                return answer, answer.body
            return answer, b"".join([piece async for piece in answer.body])

    return run(ask())


def run(work: Coroutine[Any, Any, tuple[Response, bytes]]) -> tuple[Response, bytes]:
    return asyncio.run(work)


def truncate(stores: Stores, by: int) -> None:
    (key,) = [key for key, _ in stores.objects.list("packs")]
    data = stores.objects.get(key)
    assert data is not None
    stores.objects.put(key, data[:-by])


@pytest.mark.parametrize("large", [4 << 20, 10])
def test_never_sends_a_frame_that_is_cut_short(
    stores: Stores, large: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(get_image_frame, "LARGE", large)
    monkeypatch.setattr(get_image_frame, "PIECE", 5)
    image = BuiltInstance("1.1", 1, frames=[b"a frame of some length"])
    built = image_set_builders.image_set(stores, [image])
    assert serve(stores, built, image.frame_id())[1] == b"a frame of some length"
    truncate(stores, 1)
    with caplog.at_level(logging.ERROR), pytest.raises(InternalError):
        serve(stores, built, image.frame_id())
    assert ".pack" in caplog.text


def test_reports_a_lost_pack(stores: Stores, caplog: pytest.LogCaptureFixture) -> None:
    image = BuiltInstance("1.1", 1, frames=[b"bytes"])
    built = image_set_builders.image_set(stores, [image])
    (key,) = [key for key, _ in stores.objects.list("packs")]
    stores.objects.delete(key)
    with pytest.raises(InternalError):
        serve(stores, built, image.frame_id())
    assert key in caplog.text


def test_cuts_short_a_response_whose_later_pieces_are_lost(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_image_frame, "LARGE", 10)
    monkeypatch.setattr(get_image_frame, "PIECE", 5)
    image = BuiltInstance("1.1", 1, frames=[b"a frame of some length"])
    built = image_set_builders.image_set(stores, [image])
    truncate(stores, 1)
    with pytest.raises(InternalError):
        serve(stores, built, image.frame_id())


def test_reads_in_a_thread_what_is_not_in_memory(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    image = BuiltInstance("1.1", 1, frames=[b"bytes"])
    built = image_set_builders.image_set(stores, [image])
    monkeypatch.setattr(type(stores.objects), "read_warm", lambda *_: None)
    answer, body = serve(stores, built, image.frame_id())
    assert body == b"bytes"
    assert dict(answer.headers) == {b"content-type": b"image/jph", b"content-length": b"5"}


def test_sends_large_frames_in_pieces(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_image_frame, "LARGE", 10)
    monkeypatch.setattr(get_image_frame, "PIECE", 5)
    for content in (b"eleven char", b"fifteen letters"):
        image = BuiltInstance("1.1", 1, frames=[content])
        answer, body = serve(stores, image_set_builders.image_set(stores, [image]), image.frame_id())
        assert body == content
        assert (b"content-length", b"%d" % len(content)) in answer.headers


def test_limits_the_pages_in_memory() -> None:
    pages = FramePages(limit=2 * (100 + 500))
    page = FramePage("packs/x", "image/jph", 1, bytes(100))
    pages.put(1, 0, page)
    pages.put(2, 0, page)
    pages.put(2, 0, page)
    assert pages.get(1, 0) is page
    pages.put(3, 0, page)
    assert pages.get(2, 0) is None
    assert pages.get(1, 0) is page and pages.get(3, 0) is page
