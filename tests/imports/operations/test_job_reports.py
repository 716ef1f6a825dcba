"""The report of an import job, as the console gives it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from lightwell.operations.console import jobs
from lightwell.stores.buckets.registry import Buckets
from tests.support.ct_files import write_series
from tests.support.imports import Importing


def test_nothing_of_a_report_is_left_whatever_becomes_of_who_asked(
    server: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(server.input / "a", 1)
    job = server.run("a/").job
    fetch = Buckets.fetch

    def spooled(*of: Any, spool_dir: Path, **more: Any) -> Path:
        """As one that comes over the network and is long."""
        found = fetch(*of, spool_dir=spool_dir, **more)
        assert isinstance(found, Path)
        return Path(shutil.copy(found, spool_dir / "report"))

    monkeypatch.setattr(Buckets, "fetch", spooled)
    before = set(server.stores.spool.iterdir())
    found = jobs.report(server.context, job, "success")
    assert set(server.stores.spool.iterdir()) == before
    assert not isinstance(found, bytes)
    with found:
        assert b"importResponse" in found.read()
    monkeypatch.undo()
    # That of a bucket stays, of course.
    for _ in range(2):
        again = jobs.report(server.context, job, "success")
        assert not isinstance(again, bytes)
        again.close()
