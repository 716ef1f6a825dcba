"""Requests whose storage fails: what may be available again is told apart from what is lost."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from lightwell.codec_pool.failures import EXCEPTIONS
from lightwell.codec_pool.handlers import RequestHandler
from lightwell.codec_pool.render_requests import Decode, FrameSpan, Pixels
from lightwell.codec_pool.requests import RequestError
from lightwell.errors import DamagedError, StorageUnavailableError, UnavailableError
from lightwell.imaging.dataset.byte_source import FileSource
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.settings import Settings
from lightwell.stores.objects.local import LocalObjects

IMAGE = ImageDescription(1, 1, 1, 16, 16, False, "MONOCHROME2", 0, 1, True, "PixelData")
DESCRIBED = json.dumps({**asdict(IMAGE), "original_syntax": "1.2.840.10008.1.2.1"}).encode()


class _Away(LocalObjects):
    def read(self, key: str, offset: int, length: int) -> bytes:
        raise StorageUnavailableError("The storage is away.")


@pytest.mark.parametrize(("kind", "answered"), [(_Away, UnavailableError), (LocalObjects, DamagedError)])
def test_tells_what_is_away_from_what_is_lost(
    tmp_path: Path, kind: type[LocalObjects], answered: type[Exception]
) -> None:
    direct = RequestHandler(kind(tmp_path), Settings(data=tmp_path), lambda path, key: FileSource(path))
    request = Decode(Pixels("1.2.840.10008.1.2.4.202", DESCRIBED), [FrameSpan("packs/1", 0, 9, 0, 0)])
    answer = direct.perform(request)
    assert isinstance(answer, RequestError), answer
    assert EXCEPTIONS[answer.kind] is answered, answer
