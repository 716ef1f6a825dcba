"""Opening the stores: what is made, what is said when it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightwell.errors import StorageError
from lightwell.settings import load
from lightwell.stores import open_stores
from lightwell.stores.data_folder.held_folders import held_folder
from lightwell.stores.db.schema import migrate, schema_state
from lightwell.stores.objects.local import LocalObjects


def test_keeps_everything_below_the_data_folder(tmp_path: Path) -> None:
    stores = open_stores(load({"data": str(tmp_path / "a" / "data")}, environ={}))
    data = tmp_path / "a" / "data"
    assert migrate(stores.db) is True
    stores.objects.put("a", b"x")
    assert stores.documents.root == data / "documents"
    (data / "buckets" / "inn").mkdir()
    assert stores.buckets.is_local("inn")
    assert sorted(path.name for path in data.iterdir() if not path.name.startswith("lightwell.db-")) == [
        "buckets", "lightwell.db", "lightwell.db.lock", "objects", "spool",
    ]  # fmt: skip
    assert data.stat().st_mode & 0o777 == 0o700
    stores.close()
    assert schema_state(stores.db) == "current"
    assert stores.objects.get("a") == b"x"
    stores.close()


def test_takes_places_from_the_settings(tmp_path: Path) -> None:
    settings = load(
        {
            "data": str(tmp_path / "data"),
            "database_url": f"sqlite:///{tmp_path}/other.db",
            "storage_url": f"file://{tmp_path}/packs",
            "buckets_dir": str(tmp_path / "in"),
        },
        environ={},
    )
    stores = open_stores(settings)
    assert stores.db.url == f"sqlite:///{tmp_path}/other.db"
    inner = stores.objects.inner
    assert isinstance(inner, LocalObjects)
    assert inner.root == tmp_path / "packs"
    assert stores.buckets.root == tmp_path / "in"
    stores.close()


def test_sweeps_what_crashes_left(tmp_path: Path) -> None:
    stores = open_stores(load({"data": str(tmp_path)}, environ={}))
    stores.objects.put("a", b"x")
    kept = stores.spool / "kept"
    for path in (stores.spool / "old", tmp_path / "objects" / ".tmp" / "old", kept):
        path.write_bytes(b"x")
        os.utime(path, (1000, 1000))
    os.utime(kept, (3000, 3000))
    reports = [stores.spool / f"report-{name}" for name in ("old", "written")]
    for report in reports:
        report.mkdir()
        for name in ("success.ndjson", "failure.ndjson"):
            (report / name).touch()
            os.utime(report / name, (1000, 1000))
        os.utime(report, (1000, 1000))
    os.utime(reports[1] / "success.ndjson", (3000, 3000))
    with held_folder(stores.spool, "report-") as held:
        os.utime(held, (1000, 1000))
        assert stores.sweep(2_000_000) == 4
        assert set(stores.spool.iterdir()) == {kept, reports[1], held}
    assert not held.exists()
    assert len(list(reports[1].iterdir())) == 2
    assert stores.objects.get("a") == b"x"


def test_opens_nothing_before_it_is_used(tmp_path: Path) -> None:
    code = (
        "import sys; from lightwell.settings import load; from lightwell.stores import open_stores\n"
        "stores = open_stores(load({'data': sys.argv[1]}, environ={}))\n"
        "import os; print(sorted(os.listdir(sys.argv[1])))\n"
        "print([name for name in ('alembic', 'psycopg', 'obstore') if name in sys.modules])\n"
        "stores.close()\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "data")]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output == "['buckets', 'spool']\n[]\n"


def test_no_database_is_loaded_into_codec_workers() -> None:
    """It would take them a third of their start, and 17 MB each."""
    code = "import sys, lightwell.codec_pool.worker; print('sqlalchemy' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output == "False\n"


def test_says_that_the_data_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="check LIGHTWELL_DATA"):
        open_stores(load({"data": str(tmp_path / "file" / "data")}, environ={}))
