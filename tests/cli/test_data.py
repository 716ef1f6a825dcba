"""``lightwell data verify`` and ``migrate``, as a person runs them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import update

from lightwell.stores.db import tables
from lightwell.stores.db.database import Database
from lightwell.stores.page_checksums import vfs
from tests.cli.running import import_series, lightwell_here
from tests.support.shared_data import SHARED, needs_shared


def damage(data: Path) -> None:
    (pack,) = (data / "objects" / "packs").rglob("*.pack")
    pack.write_bytes(bytes(reversed(pack.read_bytes())))


def test_says_that_all_is_well(tmp_path: Path) -> None:
    done = lightwell_here("data", "verify", "--all", "--rate", "500", data=import_series(tmp_path, 3))
    assert done.status == 0, done
    assert done.out.startswith("1 image set and 1 pack (")
    assert "with 3 instances, 3 frames decoded, 0 documents checked: everything is intact" in done.out
    assert done.err == ""


def test_says_what_is_damaged_set_by_set(tmp_path: Path) -> None:
    data = import_series(tmp_path, 3)
    damage(data)
    done = lightwell_here("data", "verify", data=data)
    assert (done.status, done.out) == (1, "")
    assert "packs and pages:\n  packs/" in done.err
    assert ", study 1.2.826.0.1.3680043.10.999.1 of patient P1:" in done.err
    assert "image set " in done.err and "  1.2.826.0.1.3680043.10.999.1.1.2: " in done.err
    assert "Restore the damaged instances from a backup, or import them again." in done.err
    assert "--repair --from BACKUP` puts back packs" in done.err
    assert "Traceback" not in done.err
    found = lightwell_here("data", "verify", "--json", data=data)
    assert found.status == 1
    report = found.json()
    assert report["instances"] == 3 and report["imageSets"] == 1
    assert {problem["patientId"] for problem in report["problems"]} == {"P1", None}
    assert {p["sopInstanceUid"] is None for p in report["problems"]} == {True, False}
    quick = lightwell_here("data", "verify", "--json", "--quick", data=data).json()
    assert [p["reason"] for p in quick["problems"]] == ["its bytes have changed: its checksum differs"]


def test_puts_back_packs_from_a_copy_of_the_storage(tmp_path: Path) -> None:
    data = import_series(tmp_path, 3)
    shutil.copytree(data / "objects", tmp_path / "copy")
    damage(data)
    bare = lightwell_here("data", "verify", "--quick", "--repair", data=data)
    assert bare.status == 1 and "could not be repaired: there is no source" in bare.err
    alone = lightwell_here("data", "verify", "--from", tmp_path / "copy", data=data)
    assert alone.status == 2 and "--repair" in alone.err
    done = lightwell_here("data", "verify", "--quick", "--repair", "--from", tmp_path / "copy", data=data)
    assert (done.status, done.err) == (0, "")
    assert ".pack: put back, and read back" in done.out and "everything is intact" in done.out
    trail = lightwell_here("audit", "query", "--json", "--patient", "P1", data=data)
    records = [json.loads(line) for line in trail.out.splitlines()]
    (kept,) = [each for each in records if each["do"] == "data verify" and "items" in each]
    (pack,) = kept["items"]
    assert kept["kind"] == "change" and kept["study"] and kept["set"] and pack in done.out


def test_makes_anew_what_searches_find(tmp_path: Path) -> None:
    data = import_series(tmp_path, 2)
    with closing(Database(f"sqlite:///{data / 'lightwell.db'}")) as db:
        db.write(lambda conn: conn.execute(update(tables.image_set).values(patient_name="WRONG")))
    found = lightwell_here("data", "verify", "--quick", "--repair", data=data)
    assert found.status == 1 and "a search by patient_name does not find what" in found.err
    assert "`lightwell data verify --repair` makes anew what" in found.err
    done = lightwell_here("data", "verify", "--repair", "--json", data=data)
    (id,) = done.json()["rebuilt"]
    assert (done.status, done.json()["problems"]) == (0, [])
    trail = lightwell_here("audit", "query", "--json", "--patient", "P1", data=data)
    records = [json.loads(line) for line in trail.out.splitlines()]
    assert {each["set"] for each in records if each["do"] == "data verify"} == {id}


def test_says_how_to_go_on_where_a_page_that_it_needs_is_damaged(tmp_path: Path) -> None:
    if vfs.why_unavailable() is not None:
        pytest.skip("this Python has no checksums of pages")
    data = import_series(tmp_path, 1)
    with closing(sqlite3.connect(f"file:{data / 'lightwell.db'}?mode=ro", uri=True)) as conn:
        ((page,),) = conn.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'record'").fetchall()
    # The second describes the others, so that nothing can be opened any more.
    for number in (page, 1):
        with (data / "lightwell.db").open("r+b") as file:
            file.seek(number * vfs.PAGE - 100)
            file.write(b"damaged")
        done = lightwell_here("data", "verify", data=data)
        assert done.status == 1 and "The database is damaged" in done.err
        assert 'under "A damaged page"' in done.err and "Traceback" not in done.err


def test_migrates_once(tmp_path: Path) -> None:
    first = lightwell_here("data", "migrate", data=tmp_path / "data")
    assert first.status == 0 and "migrated to the schema of this version" in first.out
    again = lightwell_here("data", "migrate", data=tmp_path / "data")
    assert again.status == 0 and "the schema is already current" in again.out


def test_verifies_nothing_that_is_not_there(tmp_path: Path) -> None:
    done = lightwell_here("data", "verify", data=tmp_path / "nowhere")
    assert done.status == 1 and "There is no data folder" in done.err


@needs_shared
def test_finds_nothing_wrong_with_real_files(tmp_path: Path) -> None:
    lightwell_here("import", SHARED / "syntaxes", "--datastore", "d", data=tmp_path / "data")
    done = lightwell_here("data", "verify", "--json", data=tmp_path / "data")
    assert (done.status, done.json()["problems"]) == (0, [])
    assert done.json()["instances"] > 20
