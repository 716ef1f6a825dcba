"""The pages of the database in a run of `data verify`: in bounded parts, shown, paced, gone on with."""

from __future__ import annotations

import pytest

from lightwell.stores.db.drivers import sqlite_path
from lightwell.stores.page_checksums import pages, relations, vfs
from lightwell.stores.page_checksums.vfs import PAGE
from lightwell.work.verifying.run import Verifier
from tests.support.imports import Importing

PARTS = {"sqlite": 9, "postgresql": 1}  # pages; an empty database of PostgreSQL has hardly any


def test_reads_the_pages_in_parts_and_goes_on_behind_the_last(
    server: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = server.stores.db
    most = PARTS[db.dialect]
    monkeypatch.setattr(pages, "_AT_ONCE", most)
    monkeypatch.setattr(relations, "BLOCKS", most)
    damaged = None
    if db.dialect == "sqlite" and vfs.why_unavailable() is None:
        db.shorten_log()
        path = sqlite_path(db.url)
        damaged = path.stat().st_size // PAGE
        with path.open("r+b") as file:
            file.seek(damaged * PAGE - 100)
            file.write(b"flipped")
    shown: list[tuple[int, int]] = []
    parts: list[int] = []
    is_over = False
    while not is_over:
        # Each step by another process, as after a kill.
        run = Verifier(server.stores, server.settings, lambda done, total: shown.append((done, total)))
        run.begin()
        assert run.is_resumed == bool(parts)
        before = run._counts["pages"]
        run.step()
        is_over = run._phase != "pages"
        if not is_over:
            parts.append(run._counts["pages"] - before)
        run.close()
    assert len(parts) > 3 and all(0 < part <= most for part in parts)
    assert all(part == most for part in parts[:-1]), "small tables share a part"
    assert shown == sorted(set(shown)) and len(shown) == len(parts)
    assert shown[-1][0] <= shown[-1][1], "what there is to read is at least what was read"
    if damaged is not None:
        assert sum(parts) == damaged
        assert [p.reason for p in run.report().problems] == [
            f"page {damaged} of the database is damaged: its checksum differs"
        ]
