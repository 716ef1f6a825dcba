"""``lightwell erase``: nothing is left of a patient, and nothing of anybody else is touched."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightwell.cli.contents import set_deletion
from lightwell.stores.account import datastores
from lightwell.stores.db import purge, tables
from lightwell.stores.db.drivers import sqlite_path
from lightwell.stores.objects import pack_objects, packs
from tests.cli.contents.verbs import Verbs
from tests.support import invariants
from tests.support.ct_files import ct, write
from tests.support.imports import importing

NAME, ID = "ERASE^ME", "ERASABLE-77"


@pytest.fixture
def verbs(tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]) -> Iterator[Verbs]:
    server = importing(tmp_path / "data", database_url)
    yield Verbs(server, capsys)
    server.close()


def imported(verbs: Verbs) -> None:
    """Two studies of the patient to erase, in several chunks' worth of series, and one of somebody else."""
    for number in range(3):
        write(verbs.server.input / f"a{number}.dcm", ct(number + 1, PatientID=ID, PatientName=NAME))
    write(verbs.server.input / "b.dcm", ct(1, study="2", PatientID=ID, PatientName=NAME))
    write(verbs.server.input / "c.dcm", ct(1, study="3", PatientID="OTHER", PatientName="KEEP^ME"))
    assert verbs.server.run().manifest["numberOfImportedFiles"] == 5


def places_with(folder: Path, *words: bytes) -> set[str]:
    """The files below a folder that hold one of these words, buckets left out."""
    return {
        path.name
        for path in folder.rglob("*")
        if path.is_file()
        and "buckets" not in path.relative_to(folder).parts
        and any(word in path.read_bytes() for word in words)
    }


def test_it_leaves_no_byte_of_a_patient_and_all_of_another(verbs: Verbs) -> None:
    imported(verbs)
    data = verbs.server.settings.data
    before = set((data / "objects").rglob("*.pack"))
    verbs("erase", "--patient", ID, status=2)
    assert "Erase 2 image sets with 4 instances" in verbs.err and "--yes" in verbs.err
    url = verbs.server.settings.database
    folders = [data] if verbs.server.stores.db.dialect != "sqlite" else [data, sqlite_path(url).parent]
    words = NAME.encode(), ID.encode()
    if len(folders) == 2:
        assert any(places_with(folder, *words) for folder in folders)
    report = verbs.json("erase", "--patient", ID, "--now", "--yes")
    assert (len(report["imageSets"]), report["packs"], report["packsStillReferredTo"]) == (2, 2, [])
    assert report["packBytes"] > 0 and report["inEarlierVersions"] == [] and not report["hasRunningImports"]
    left = set((data / "objects").rglob("*.pack"))
    assert len(before) == 3 and len(left) == 1 and left < before
    assert report["isDatabaseRewritten"] == (len(folders) == 2)
    # The audit trail says by the patient's ID who erased what, as `erase` says itself; it holds no names.
    trail = {path.name: path.read_bytes() for path in (data / "audit").rglob("*") if path.is_file()}
    assert trail and not any(NAME.encode() in content for content in trail.values())
    found = [places_with(folder, *words) - trail.keys() for folder in folders]
    assert found == [set() for _ in folders]
    if len(folders) == 2:
        assert any(places_with(folder, b"KEEP^ME") for folder in folders)
    invariants.check(verbs.server.stores, decode=True)
    # Packs that were opened for the job and not needed have to wait for the grace period.
    invariants.check_collected(verbs.server.stores, older_than=0)
    assert [each["DICOMTags"]["DICOMPatientId"] for each in verbs.json("sets", "list")] == ["OTHER"]


def test_it_says_what_goes_when_and_removes_it_later_if_told_so(verbs: Verbs) -> None:
    imported(verbs)
    study = f"{ct(study='2').StudyInstanceUID}"
    text = verbs("erase", "--study", study, "--yes")
    assert text.startswith("1 image set erased\nno search and no request finds them from now on\n")
    assert "leave the database within about 1 min" in text and "leave the storage after 1 day" in text
    assert "what stays, if there is any:\n  backups" in text
    assert len(list((verbs.server.settings.data / "objects").rglob("*.pack"))) == 3
    again = verbs("erase", "--study", study, "--now", "--yes")
    assert again.startswith("0 image sets erased\nno image set has this ID\n")
    assert "are removed" not in again and "`lightwell erase --now`, without an ID" in again
    assert verbs.json("erase", "--study", study, "--now", "--yes")["isRemoved"] is False
    assert len(list((verbs.server.settings.data / "objects").rglob("*.pack"))) == 3
    done = verbs("erase", "--now")
    assert "0 image sets erased\nattributes, UIDs and bytes (1 pack with frames and originals, " in done
    assert ", 0 bytes) are removed" not in done
    assert len(list((verbs.server.settings.data / "objects").rglob("*.pack"))) == 2
    invariants.check(verbs.server.stores)
    verbs("erase", status=2)
    verbs("erase", "--patient", " ", status=2)
    verbs.server.start()
    assert "import jobs are running" in verbs("erase", "--patient", "nobody", "--yes")


def test_it_names_what_had_the_id_in_an_earlier_version(verbs: Verbs) -> None:
    made = verbs.built(1, ID, is_primary=False)
    verbs.corrected(made, "OTHER")
    text = verbs("erase", "--patient", ID, "--yes")
    assert "NOT erased: 1 image set that had this ID in an earlier version. " in text
    assert text.count(f"lightwell sets delete {made.id}\n") == 1
    report = verbs.json("erase", "--patient", ID, "--yes", "--datastore", made.datastore_id)
    named = [{"datastoreId": made.datastore_id, "imageSetId": made.id}]
    assert (report["inEarlierVersions"], report["earlierVersionsNotRead"]) == (named, [])
    former = tables.level.c.valid_to.is_not(None)
    verbs.server.stores.db.write(
        lambda conn: conn.execute(tables.level.update().where(former).values(edits=b"damaged"))
    )
    assert "NOT looked at: earlier versions of 1 image set that" in verbs("erase", "--patient", ID, "--yes")
    assert verbs.json("erase", "--patient", ID, "--yes")["earlierVersionsNotRead"] == named
    assert len(verbs.json("sets", "list")) == 1


def test_it_leaves_a_set_that_was_given_to_another_patient_after_it_was_found(
    verbs: Verbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gone = verbs.built(1, ID, is_primary=False), verbs.built(2, ID)
    real = set_deletion.delete

    def delete(*arguments: Any) -> Any:
        monkeypatch.setattr(set_deletion, "delete", real)
        verbs.corrected(kept, "OTHER")
        return real(*arguments)

    monkeypatch.setattr(set_deletion, "delete", delete)
    report = verbs.json("erase", "--patient", ID, "--yes")
    assert [each["imageSetId"] for each in report["imageSets"]] == [gone.id]
    assert [each["imageSetId"] for each in report["inEarlierVersions"]] == [kept.id]
    assert [each["imageSetId"] for each in verbs.json("sets", "list")] == [kept.id]


def test_it_leaves_packs_that_are_being_written_to_their_writers(verbs: Verbs) -> None:
    imported(verbs)
    stores = verbs.server.stores
    with stores.db.read() as conn:
        store = datastores.get(conn, verbs.server.datastore)
    assert store is not None
    now = verbs.server.context.clock.now()
    stores.db.write(lambda conn: packs.insert_open(conn, [7], store.key, now))
    verbs("erase", "--patient", ID, "--now", "--yes")
    verbs("erase", "--now")
    assert verbs.json("erase", "--now")["otherUnusedPacks"] == 0
    stores.objects.put(pack_objects.pack_name(7), b"half a pack")
    assert "NOT removed: 1 other pack that no image set needs" in verbs("erase", "--now")
    with stores.db.read() as conn:
        assert packs.existing_keys(conn, [7]) == {7}
        assert conn.execute(tables.pack.select().where(tables.pack.c.key == 7)).one().state == "open"


def test_it_says_that_bytes_of_earlier_deletions_are_still_there(verbs: Verbs) -> None:
    imported(verbs)
    verbs("erase", "--patient", ID, "--yes")
    report = verbs.json("erase", "--patient", "OTHER", "--now", "--yes")
    assert (report["otherUnusedPacks"], report["packsStillReferredTo"]) == (2, [])
    text = verbs("erase", "--patient", ID, "--now", "--yes")
    assert "NOT removed: 2 other packs" in text and "`lightwell erase --now`, without an ID" in text
    report = verbs.json("erase", "--now")
    assert (report["otherUnusedPacks"], report["packs"]) == (0, 2) and report["packBytes"] > 0
    assert not list((verbs.server.settings.data / "objects").rglob("*.pack"))


def test_it_says_what_was_erased_where_the_disk_is_too_full_for_the_rest(
    verbs: Verbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    if verbs.server.stores.db.dialect != "sqlite":
        pytest.skip("only SQLite is rewritten")
    imported(verbs)
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL

    def raise_full(_: sqlite3.Connection) -> bool:
        raise full

    with monkeypatch.context() as patched:
        patched.setattr(purge, "_vacuum", raise_full)
        said = verbs("erase", "--patient", ID, "--now", "--yes")
        assert said.startswith("2 image sets erased") and "are removed" in said
        assert "NOT rewritten" in said and "since a disk is full: make room" in said
        report = verbs.json("erase", "--now")
        assert (report["isDatabaseRewritten"], report["whyNotRewritten"]) == (False, "a disk is full")
    assert "the database was rewritten" in verbs("erase", "--now")
