"""What the log says of an import job, without names of files."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lightwell.domain.imports.jobs import InputFile, Job
from lightwell.domain.imports.names_in_logs import of_job, without_files, without_paths
from lightwell.domain.states import JobPhase, JobStatus

KEY = "scans/DOE^JANE/ct 1.dcm"
PATH = "/mnt/cd/DOE^JANE.zip"
FILES = (
    InputFile(3, KEY, None, 1),
    InputFile(4, "e", None, 1),
    InputFile(5, f"{KEY}.zip", ("zip", PATH, "DOE/1.dcm", "0"), 1),
    InputFile(6, "copy", ("s3", "hospital", "JANE DOE.dcm"), 1),
)
JOB = Job(
    key=1,
    id="0123456789abcdef",
    datastore=1,
    name=None,
    status=JobStatus.IN_PROGRESS,
    phase=JobPhase.READ,
    message=None,
    role_arn="arn",
    input_uri="s3://hospital/scans/",
    output_uri="s3://out/",
    input_owner=None,
    configuration=None,
    source=None,
    caller="arn",
    submitted_at=1,
    ended_at=None,
    scanned=0,
    read=0,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"s3://hospital/{KEY} came with 5 of 9.", "s3://hospital/(file 3) came with 5 of 9."),
        (f"s3://hospital/{KEY}.zip ended", "s3://hospital/(file 5) ended"),
        (f"DOE/1.dcm in {PATH} is damaged", "(file 5) in (file 5) is damaged"),
        ("s3://hospital/JANE DOE.dcm: refused", "s3://hospital/(file 6): refused"),
        ("The disk is full", "The disk is full"),
    ],
)
def test_names_files_by_their_numbers(text: str, shown: str) -> None:
    assert without_files(text, FILES) == shown


@pytest.mark.parametrize(
    "text",
    [
        "There are no files below the input s3://hospital/scans/. Check bucket and prefix.",
        "The input s3://hospital/scans/ has more than 5 files",
        "The output s3://out/ cannot be written: s3://hospital/scans/: no",
    ],
)
def test_keeps_the_input_of_a_job_which_events_name_too(text: str) -> None:
    assert of_job(text, JOB) == text


def test_ends_where_something_below_the_input_is_named() -> None:
    where = "`lightwell jobs show 0123456789abcdef` says why"
    shown = f"The role may not read s3://hospital/scans/… ({where})"
    assert of_job("The role may not read s3://hospital/scans/DOE JANE.json.", JOB) == shown
    assert of_job(f"There are no files below {PATH}.", replace(JOB, source=b"sealed")) == where


OWN = ("/data/spool", "/data/objects", "/data/lightwell.db")


@pytest.mark.parametrize(
    "text",
    [
        "/data/objects/packs/1.pack cannot be read: the disk failed: look at the system's log.",
        "The database /data/lightwell.db: disk I/O error; '/data/spool' is full",
        "https://s3.example.org/bucket/x cannot be reached: time out/refused",
        "A codec worker could not be started 1/2",
    ],
)
def test_keeps_paths_of_lightwell_itself(text: str) -> None:
    assert without_paths(text, OWN) == text


@pytest.mark.parametrize("path", ["/mnt/cd/DOE^JANE 1.zip", "/data/spooled/DOE JANE: a / b", "/data/object"])
@pytest.mark.parametrize("text", ["{} cannot be read or unzipped: {}", "DOE/1 in '{}' cannot be read: {}"])
@pytest.mark.parametrize("reason", ["the disk failed: look at the system's log", "Input/output error"])
def test_says_why_without_any_other_path(text: str, path: str, reason: str) -> None:
    told = without_paths(text.format(path, reason), OWN)
    assert "DOE" not in told and path not in told
    assert told.startswith("(a path that is not named here) cannot be read") and told.endswith(f": {reason}")
    assert without_paths(f"A worker ended on {path}", OWN) == "(a path that is not named here)"
