"""``lightwell jobs``: lists, shows and cancels import jobs, on both databases."""

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


def test_it_lists_shows_and_cancels(verbs: Verbs) -> None:
    assert verbs("jobs", "list") == "" and "There are no import jobs" in verbs.err
    first = verbs.server.start("a/", job_name="ward 3")
    second = verbs.server.start("b/")
    heading, newest, oldest = verbs("jobs", "list").splitlines()
    assert heading.split()[:3] == ["JOB", "STATUS", "DATA"]
    assert newest.startswith(f"{second.id}  SUBMITTED") and "ward 3" in oldest
    assert [each["jobId"] for each in verbs.json("jobs", "list", "--running")] == [second.id, first.id]
    assert len(verbs.json("jobs", "list", "--limit", "1")) == 1
    for limit in ("-1", "0", "many"):
        with pytest.raises(SystemExit):
            verbs("jobs", "list", f"--limit={limit}")
        assert f"'{limit}' is not a number from 1 on" in verbs.capsys.readouterr().err

    message = "Cancelled before any of its files was imported."
    assert verbs("jobs", "cancel", first.id) == f"job {first.id}: {message}\n"
    shown = verbs.json("jobs", "show", first.id)
    assert (shown["jobStatus"], shown["message"], shown["numberOfImportedFiles"]) == ("FAILED", message, 0)
    assert shown["numberOfFilesNotDicom"] == 0
    assert f"message                         {message}\n" in verbs("jobs", "show", first.id)
    assert [each["jobId"] for each in verbs.json("jobs", "list", "--running")] == [second.id]

    (cancelled,) = verbs.json("jobs", "cancel", first.id, second.id, status=1)
    assert (cancelled["jobId"], cancelled["jobStatus"]) == (second.id, "FAILED")
    assert f"Import job {first.id} has ended before: it is FAILED" in verbs.err
    verbs("jobs", "list", "--running")
    assert "No import job is running" in verbs.err
    verbs("jobs", "cancel", "0" * 32, status=1)
    assert "There is no import job" in verbs.err and "`lightwell jobs list`" in verbs.err
