"""What `lightwell key list` shows of keys and sessions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightwell.auth.principals import create_key
from lightwell.auth.secret_box import create_secret_key, open_secret_box
from lightwell.cli.access.key_lists import print_keys
from lightwell.settings import load
from lightwell.stores.db.open import open_database


def test_shows_which_keys_a_session_for_an_emergency_has_made(
    tmp_path: Path, migrated_sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    create_secret_key(tmp_path)
    db = open_database(load({"data": tmp_path, "database_url": migrated_sqlite_url}, environ={}))
    try:
        box = open_secret_box(None, tmp_path)
        usual = create_key(db, box, "ana", 1, []).access_key_id
        flagged = create_key(db, box, "night", 1, [], emergency=True).access_key_id
        print_keys(db, as_json=True)
        shown = {each["accessKeyId"]: each["emergency"] for each in json.loads(capsys.readouterr().out)}
        assert shown == {usual: False, flagged: True}
        print_keys(db, as_json=False)
    finally:
        db.close()
    heading, *rows = capsys.readouterr().out.splitlines()
    column = heading.index("EMERGENCY")
    assert {row.split()[0]: row[column:].split()[0] for row in rows} == {usual: "-", flagged: "yes"}
