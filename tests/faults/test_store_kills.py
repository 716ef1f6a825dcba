"""kill -9 of the work process around each transaction of a store: all of a request is there, or nothing."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from lightwell.codec_pool.client import CodecPoolClient
from lightwell.codec_pool.requests import InstanceStored, Store
from lightwell.errors import UnavailableError
from tests.imports.codec_pool.test_requests import opened, store_request, stored
from tests.imports.conftest import sqlite as sqlite  # a fixture
from tests.support import invariants
from tests.support.ct_files import ct
from tests.support.imports import Importing

ROOT = Path(__file__).parents[2]


def _killed(server: Importing, number: int, when: str, ask: Store) -> bool:
    """Whether the engine that kills itself has answered before."""
    arguments = [str(server.settings.data), server.stores.db.url, "1", str(number), when, "pool"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.engine_main", *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    pool = CodecPoolClient(server.settings.data)
    try:
        while process.poll() is None:
            # It may still be starting: then nothing has been sent.
            with suppress(UnavailableError):
                stored(pool.ask(ask, 30))
                return True
        return False
    finally:
        pool.close()
        process.kill()
        process.wait()


@pytest.mark.parametrize(("when", "numbers"), [("before", (3, 4)), ("after", (3, 4))])
def test_keeps_a_request_whole_or_not_at_all(sqlite: Importing, when: str, numbers: tuple[int, ...]) -> None:
    ask = store_request(sqlite, *(ct(n) for n in range(1, 5)), ct(1, series="2"))
    answered = 0
    # An engine begins with two of its own; the third transaction announces packs, the fourth commits the
    # instances.
    for number in numbers:
        answered += _killed(sqlite, number, when, ask)
        with sqlite.stores.db.read() as conn:
            counts = conn.exec_driver_sql(
                "SELECT latest_version, instance_count FROM image_set ORDER BY instance_count"
            ).all()
        assert [count for _, count in counts] in ([], [1, 4])
        assert len({version for version, _ in counts}) <= 1, "both series have come, or none"
        assert not counts or counts[0][0] >= answered
        invariants.check(sqlite.stores)
    with opened(sqlite) as (pool, _):
        files = stored(pool.ask(ask, 60))
    assert all(isinstance(file, InstanceStored) for file in files)
    invariants.check(sqlite.stores, decode=True)
