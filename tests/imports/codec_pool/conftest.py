"""These tests are about codec workers, so they start them as engines elsewhere do."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from lightwell.codec_pool import process


@pytest.fixture(scope="package", autouse=True)
def _started_workers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "subprocess", subprocess)
        yield
