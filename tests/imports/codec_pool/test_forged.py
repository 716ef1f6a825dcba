"""Files that have taken over their codec worker, which then names what other patients' images lie in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select

from lightwell.codec_pool.requests import InstanceStored
from lightwell.errors import InternalError
from lightwell.stores.db.tables import image_set, record
from tests.imports.codec_pool.sabotage import forge
from tests.imports.codec_pool.test_requests import opened, store_request, stored
from tests.support import invariants
from tests.support.ct_files import ct, write, write_series
from tests.support.imports import Importing


def _victim(server: Importing) -> dict[str, dict[str, Any]]:
    """What a worker could say to have the frames and the original of another patient in its own record."""
    with server.stores.db.read() as conn:
        row = conn.execute(select(record)).first()
    assert row is not None
    place = {"original_offset": row.original_offset, "original_length": row.original_length}
    return {
        "pixels": {"pixels": None, "shared_pixels": row.pixels},
        "original": {"pack": row.pack, **place},
    }


def _count(server: Importing) -> tuple[int | None, int | None]:
    with server.stores.db.read() as conn:
        counts = [
            conn.execute(select(func.count()).select_from(each)).scalar() for each in (record, image_set)
        ]
    return counts[0], counts[1]


def test_imports_nothing_of_a_chunk_whose_worker_was_taken_over(
    sqlite: Importing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(sqlite.input / "victim" / "a.dcm", ct(1, series="9", PatientID="victim"))
    sqlite.run("victim/")
    before = _count(sqlite)
    sqlite.close_engine()  # its worker is an honest one
    with monkeypatch.context() as patched:
        forge(_victim(sqlite)["original"], tmp_path / "modules", patched)
        write(sqlite.input / "in" / "1-hostile.dcm", ct(1, series="1"))
        write(sqlite.input / "in" / "2.dcm", ct(2, series="1"))
        report = sqlite.run("in/")
        assert set(report.messages()) == {"in/1-hostile.dcm", "in/2.dcm"}
        assert all("hostile" in message for message in report.messages().values())
        assert report.manifest["numberOfFilesWithServerError"] == 2
        assert _count(sqlite) == before
        # The same engine goes on with what is good.
        write_series(sqlite.input / "good", 3)
        assert sqlite.run("good/").manifest["numberOfImportedFiles"] == 3
    invariants.check(sqlite.stores)


def test_stores_nothing_of_an_upload_whose_worker_was_taken_over(
    sqlite: Importing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(sqlite.input / "victim.dcm", ct(1, series="9", PatientID="victim"))
    sqlite.run()
    before = _count(sqlite)
    sqlite.close_engine()
    forge(_victim(sqlite)["pixels"], tmp_path / "modules", monkeypatch)
    with opened(sqlite) as (pool, _):
        request = store_request(sqlite, ct(1), ct(2))
        first, second = request.files
        hostile = msgspec.structs.replace(second, name="hostile")
        with pytest.raises(InternalError, match="hostile"):
            pool.ask(msgspec.structs.replace(request, files=[first, hostile]), 60)
        assert _count(sqlite) == before
        (good,) = stored(pool.ask(msgspec.structs.replace(request, files=[first]), 60))
        assert isinstance(good, InstanceStored)
    invariants.check(sqlite.stores)
