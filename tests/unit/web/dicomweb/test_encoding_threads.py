"""Encoding frames on request keeps no thread busy that other operations need."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from lightwell.imaging.dataset.transfer_syntaxes import EXPLICIT_LITTLE, JPEG_LS_LOSSLESS
from lightwell.web.dicomweb import frames, retrieve
from lightwell.web.dicomweb.frames import FrameFormat


class _Reader:
    """Instead of frames, gives the name of the thread that was to make them."""

    may_wait = False

    def __init__(self, *, by_worker: bool) -> None:
        self._by_worker = by_worker

    def needs_worker(self, _: object) -> bool:
        return self._by_worker

    def decode_by_worker(self, *_: object) -> tuple[str, bytes]:
        return "RGB", self.transcode()

    def encode(self, *_: object) -> bytes:
        return self.transcode()

    def transcode(self, *_: object) -> bytes:
        return threading.current_thread().name.encode()


@pytest.mark.parametrize(
    ("syntax", "by_worker", "name"),
    [
        (JPEG_LS_LOSSLESS, False, b"encoder"),
        (JPEG_LS_LOSSLESS, True, b"encoder"),
        (EXPLICIT_LITTLE, False, b"operation"),
        (EXPLICIT_LITTLE, True, b"waiter"),
    ],
)
def test_encodes_frames_apart_from_operations(syntax: str, by_worker: bool, name: bytes) -> None:
    with (
        ThreadPoolExecutor(1, "operation") as threads,
        ThreadPoolExecutor(1, "waiter") as waiters,
        ThreadPoolExecutor(1, "encoder") as encoders,
    ):
        state = SimpleNamespace(
            threads=threads,
            waiters=waiters,
            encoders=encoders,
            instance_frames=_Reader(by_worker=by_worker),
        )
        request: Any = SimpleNamespace(state=state, ctx=None)
        nothing: Any = None
        form = FrameFormat(syntax, "image/jls", in_parts=False, as_stored=False, is_assumed=False)
        made = asyncio.run(frames._decoded(request, nothing, nothing, form))
        assert bytes(made).startswith(name)
        for is_encoded, chosen in ((False, threads), (True, encoders)):
            sent: Any = [SimpleNamespace(is_encoded=False), SimpleNamespace(is_encoded=is_encoded)]
            assert retrieve._threads(request, sent) is chosen
