"""``lightwell sets list|show|delete``: finds, shows and deletes image sets, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.contents.verbs import Verbs
from tests.support.imports import importing


@pytest.fixture
def verbs(tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]) -> Iterator[Verbs]:
    server = importing(tmp_path / "data", database_url)
    yield Verbs(server, capsys)
    server.close()


def test_it_finds_by_patient_study_and_modality(verbs: Verbs) -> None:
    one, two = verbs.built(1), verbs.built(2, "P2", modality="MR")
    other = verbs("datastore", "create", "other").strip()
    three = verbs.built(3, store=other)

    def found(*words: str) -> set[str]:
        return {each["imageSetId"] for each in verbs.json("sets", "list", *words)}

    assert found() == {one.id, two.id, three.id}
    assert found("--datastore", "other") == {three.id}
    assert found("--patient", "P1") == {one.id, three.id}
    assert found("--patient", "P1", "--datastore", verbs.server.datastore) == {one.id}
    assert found("--study", "1.2.3.2") == {two.id} == found("--modality", "mr")
    assert found("--study", "1.2.3.2", "--patient", "P1") == set()
    heading, row = verbs("sets", "list", "--patient", "P2").splitlines()
    assert row.split()[0] == two.id
    assert row.split()[2:] == ["1", "yes", "P2", "NAME^P2", "2024-01-31", "MR", "1", "HEAD"]
    assert heading.startswith("IMAGE SET ") and "DATA STORE" in heading
    row = verbs("sets", "list", "--datastore", "other").splitlines()[1]
    assert row.split()[:4] == [three.id, "1", "yes", "P1"]
    assert f"{three.id}  other " in verbs("sets", "list", "--patient", "P1")
    assert verbs("sets", "list", "--patient", "P3") == "" and "No image set matches" in verbs.err
    verbs("sets", "list", "--datastore", "nowhere", status=1)
    assert "existing data stores: other" in verbs.err


def test_it_reads_page_after_page_up_to_a_limit(verbs: Verbs) -> None:
    for number in range(120):
        verbs.built(number, "P2" if number == 7 else "P1")
    assert len({each["imageSetId"] for each in verbs.json("sets", "list")}) == 120
    assert len(verbs("sets", "list", "--patient", "P1").splitlines()) == 120
    assert len(verbs.json("sets", "list", "--limit", "60")) == 60
    assert "only the first 60 image sets" in verbs.err
    assert len(verbs.json("sets", "list", "--limit", "120")) == 120
    assert verbs.err == ""


def test_it_shows_one(verbs: Verbs) -> None:
    made = verbs.built(1)
    shown = verbs.json("sets", "show", made.id)
    assert (shown["imageSetState"], shown["versionId"], shown["isPrimary"]) == ("ACTIVE", "1", True)
    assert shown["attributes"]["PatientID"] == "P1" and shown["attributes"]["instances"] == 1
    assert [version["versionId"] for version in shown["versions"]] == ["1"]
    assert "PatientName             NAME^P1\n" in verbs("sets", "show", made.id)
    verbs("sets", "delete", made.id)
    assert verbs.json("sets", "show", made.id)["imageSetState"] == "DELETED"
    assert "NAME^P1" not in verbs("sets", "show", made.id)
    verbs("sets", "show", "0" * 32, status=1)
    assert "`lightwell sets list`" in verbs.err


def test_it_deletes_by_id_and_by_what_is_searched(verbs: Verbs) -> None:
    made = [verbs.built(number, "P2" if number > 2 else "P1") for number in range(5)]
    assert verbs("sets", "delete", made[0].id, made[0].id) == "1 image set deleted\n"
    verbs("sets", "delete", made[0].id, made[1].id, "f" * 32, status=1)
    assert "is deleted already" in verbs.err and "does not exist" in verbs.err
    assert [each["imageSetId"] for each in verbs.json("sets", "list", "--patient", "P1")] == [made[2].id]

    verbs("sets", "delete", "--patient", "P2", status=2)
    assert "Delete 2 image sets with 2 instances" in verbs.err and "--yes" in verbs.err
    verbs("sets", "delete", status=2)
    verbs("sets", "delete", "--datastore", verbs.server.datastore, status=2)
    assert "--datastore NAME --all" in verbs.err
    verbs("sets", "delete", "--all", "--yes", status=2)
    verbs("sets", "delete", "--all", "--yes", "--datastore", verbs.server.datastore, "--study", "1", status=2)
    verbs("sets", "delete", made[3].id, "--all", status=2)
    verbs("sets", "delete", made[3].id, "--patient", "P2", status=2)
    assert len(verbs.json("sets", "list")) == 3
    deleted = verbs.json("sets", "delete", "--patient", "P2", "--yes")
    assert {each["imageSetId"] for each in deleted} == {made[3].id, made[4].id}
    verbs("sets", "delete", "--patient", "P2", "--yes", status=1)
    assert [each["imageSetId"] for each in verbs.json("sets", "list")] == [made[2].id]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_it_takes_no_empty_id_for_all_that_have_none(verbs: Verbs) -> None:
    made = verbs.built(1, "")
    for given in ("--patient", "--study"):
        for empty in ("", "  "):
            verbs("sets", "delete", given, empty, "--yes", status=2)
            assert "that is not empty" in verbs.err
    assert [each["imageSetId"] for each in verbs.json("sets", "list", "--patient", "")] == [made.id]


def test_it_leaves_what_has_changed_since_it_was_found(verbs: Verbs, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, deleted = verbs.built(1, is_primary=False), verbs.built(2)

    def ask(prompt: str) -> str:
        assert "Delete 2 image sets" in prompt
        verbs.corrected(kept, "P2")
        return "y"

    monkeypatch.setattr("lightwell.cli.question.is_interactive", lambda: True)
    monkeypatch.setattr("lightwell.cli.question.ask", ask)
    assert verbs("sets", "delete", "--patient", "P1", status=1) == "1 image set deleted\n"
    assert f"1 image set NOT deleted, changed since the search found them: {kept.id}." in verbs.err
    assert [each["imageSetId"] for each in verbs.json("sets", "list", "--patient", "P2")] == [kept.id]
    assert verbs.json("sets", "show", deleted.id)["imageSetState"] == "DELETED"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_it_asks_on_a_terminal(verbs: Verbs, monkeypatch: pytest.MonkeyPatch) -> None:
    made = verbs.built(1)
    answers = iter(["", "y"])
    monkeypatch.setattr("lightwell.cli.question.is_interactive", lambda: True)
    monkeypatch.setattr("lightwell.cli.question.ask", lambda prompt: next(answers))
    verbs("sets", "delete", "--study", "1.2.3.1", status=1)
    assert "nothing was deleted" in verbs.err
    assert verbs.json("sets", "show", made.id)["imageSetState"] == "ACTIVE"
    assert verbs("sets", "delete", "--study", "1.2.3.1") == "1 image set deleted\n"
