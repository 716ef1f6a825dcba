"""Commands that read or remove objects refuse a storage that is not that of the database."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightwell.cli.main import main
from lightwell.stores.background.installation import agree_on_storage
from lightwell.stores.db.database import Database
from lightwell.stores.objects.local import LocalObjects

VERBS = {
    "verify": ["data", "verify"],
    "erase": ["erase", "--now", "--yes"],
    "export": ["export", "--datastore", "d", "OUT"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_is_refused_as_servers_refuse_it(
    verb: str,
    migrated_postgres_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    db = Database(migrated_postgres_url)
    agree_on_storage(db, LocalObjects(ours), "1" * 32)
    LocalObjects(theirs).put("storage.id", b"2" * 32)
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("LIGHTWELL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LIGHTWELL_DATABASE_URL", migrated_postgres_url)
    monkeypatch.setenv("LIGHTWELL_STORAGE_URL", f"file://{theirs}")
    monkeypatch.chdir(tmp_path)
    assert main(VERBS[verb]) == 2
    assert f"{theirs} is not the storage of the objects of this database" in capfd.readouterr().err
    monkeypatch.setenv("LIGHTWELL_STORAGE_URL", f"file://{ours}")
    if verb in ("verify", "erase"):
        assert main(VERBS[verb]) == 0
    db.close()
