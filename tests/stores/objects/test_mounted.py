"""Whether the disk of the packs is there, before anything is written to it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from lightwell.errors import StorageUnavailableError
from lightwell.stores.db.database import Database
from lightwell.stores.objects import packs
from lightwell.stores.objects.local import LocalObjects


def test_a_folder_that_cannot_be_looked_at_is_away(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = LocalObjects(tmp_path)
    packs.check_mounted(database, objects)

    def is_dir(path: Path) -> bool:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(Path, "is_dir", is_dir)
    with pytest.raises(StorageUnavailableError, match=r"packs cannot be looked at: Stale file handle"):
        packs.check_mounted(database, objects)
