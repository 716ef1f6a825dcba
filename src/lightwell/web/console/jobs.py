"""``datastores/{datastoreId}/jobs``: how far import jobs are, what went wrong, and their reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lightwell.auth.policies.actions import GET_OBJECT, AuthorizationRequest
from lightwell.errors import NotFoundError, ValidationError
from lightwell.operations.console import jobs
from lightwell.operations.console.jobs import Part, Progress, Reason
from lightwell.web.console.route import Answer, Call, Route, iso, on_datastore
from lightwell.web.requests.responses import Headers, Response
from lightwell.web.requests.streams import PIECE, start_stream

_MOST = 50


class JobAnswer(Answer):
    """An import job. ``phase``: list, read, commit, report or done; with list, the total is not known yet.

    ``scanned_files`` were found; ``read_files`` are settled or wait for their image set; the other counts are
    None where there are too many to count, or where only the report knows any more (``is_pruned``).
    """

    job_id: str
    job_name: str | None
    job_status: str
    phase: str
    message: str | None
    submitted_at: str
    ended_at: str | None
    input_s3_uri: str
    output_s3_uri: str
    started_by: str
    is_own: bool
    scanned_files: int
    read_files: int
    imported_files: int | None
    failed_files: int | None
    not_dicom_files: int | None
    is_pruned: bool


class JobList(Answer):
    jobs: list[JobAnswer]
    next_token: str | None


class ReasonAnswer(Answer):
    """A cause, how many files it applies to, and the name of one of them."""

    reason: str
    files: int
    example: str


class Reasons(Answer):
    """``study_instance_uids`` are those of the first 1,000 image sets. ``is_partial``: there are more files
    with a reason than were looked at.
    """

    failures: list[ReasonAnswer]
    warnings: list[ReasonAnswer]
    already_there: int
    not_dicom: int
    not_dicom_names: list[str]
    study_instance_uids: list[str]
    is_partial: bool


def listed(call: Call) -> JobList:
    """The jobs of a data store."""
    found, token = jobs.jobs_page(
        call.ctx,
        call.params["datastoreId"],
        limit=call.page(_MOST),
        next_token=call.query.get("nextToken"),
        is_running=_flag(call, "running"),
    )
    return JobList(jobs=[_answer(call, each) for each in found], next_token=token)


def shown(call: Call) -> JobAnswer:
    """How far one is."""
    return _answer(call, jobs.progress(call.ctx, call.params["datastoreId"], call.params["jobId"]))


def reasons(call: Call) -> Reasons:
    """What went wrong in one."""
    found = jobs.progress(call.ctx, call.params["datastoreId"], call.params["jobId"])
    _check_names(call, found, "failure")
    why = jobs.reasons(call.ctx, found.job)
    return Reasons(
        failures=_reasons(why.failures),
        warnings=_reasons(why.warnings),
        already_there=why.already_there,
        not_dicom=why.not_dicom,
        not_dicom_names=why.not_dicom_names,
        study_instance_uids=why.study_uids,
        is_partial=why.is_partial,
    )


def cancel(call: Call) -> JobAnswer:
    """Stop one."""
    return _answer(call, jobs.cancel(call.ctx, call.params["datastoreId"], call.params["jobId"]))


async def report(call: Call) -> Response:
    """A file of the report of one."""
    content, name = await call.state.in_thread(_report, call)
    headers: Headers = [
        (b"content-type", b"application/json" if name.endswith(".json") else b"application/x-ndjson"),
        (b"content-disposition", f'attachment; filename="{name}"'.encode()),
        (b"x-content-type-options", b"nosniff"),
    ]
    if isinstance(content, bytes):
        headers.append((b"content-length", b"%d" % len(content)))
        return Response(200, headers, content)
    return Response(200, headers, await start_stream(call.state.threads, _pieces(content)))


def _report(call: Call) -> tuple[bytes | BinaryIO, str]:
    part = next((part for part in jobs.PARTS if part == call.params["part"]), None)
    if part is None:
        raise NotFoundError(f"A report has the parts {', '.join(jobs.PARTS)}.")
    found = jobs.progress(call.ctx, call.params["datastoreId"], call.params["jobId"])
    _check_names(call, found, part)
    return jobs.report(call.ctx, found.job, part), Path(jobs.PARTS[part]).name


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE):
            yield piece


def _check_names(call: Call, found: Progress, part: Part) -> None:
    """The names of files, which may be those of patients: for who started the job or may read its report."""
    if not _is_own(call, found):
        key = jobs.report_key(found.job, part)
        call.check([AuthorizationRequest((GET_OBJECT,), f"arn:aws:s3:::{key}")])


def _is_own(call: Call, found: Progress) -> bool:
    return (found.job.owner or found.job.caller) == call.principal.owner


def _flag(call: Call, name: str) -> bool:
    value = call.query.get(name, "false")
    if value not in ("true", "false"):
        raise ValidationError(f"{name} is true or false.")
    return value == "true"


def _answer(call: Call, found: Progress) -> JobAnswer:
    job, counts = found.job, found.counts
    return JobAnswer(
        job_id=job.id,
        job_name=job.name,
        job_status=job.status,
        phase=job.phase,
        message=job.message,
        submitted_at=iso(job.submitted_at),
        ended_at=None if job.ended_at is None else iso(job.ended_at),
        input_s3_uri=job.input_uri,
        output_s3_uri=job.output_uri,
        started_by=job.caller,
        is_own=_is_own(call, found),
        scanned_files=job.scanned,
        read_files=job.read,
        imported_files=None if counts is None else counts.imported,
        failed_files=found.failed,
        not_dicom_files=None if counts is None else found.not_dicom,
        is_pruned=found.is_pruned,
    )


def _reasons(found: list[Reason]) -> list[ReasonAnswer]:
    return [ReasonAnswer(reason=each.text, files=each.files, example=each.example) for each in found]


_JOBS = "datastores/{datastoreId}/jobs"
_ONE = f"{_JOBS}/{{jobId}}"
_NAMES = (
    "`medical-imaging:GetDICOMImportJob` on the data store; for jobs of others also `s3:GetObject` on the "
    "key of the report, since names of files may be those of patients"
)

ROUTES = (
    Route(
        "ConsoleListJobs",
        "GET",
        _JOBS,
        listed,
        on_datastore("medical-imaging:ListDICOMImportJobs"),
        query=("maxResults", "nextToken", "running"),
        action="`medical-imaging:ListDICOMImportJobs` on the data store",
        says="The import jobs of the data store, newest first, with their counts of files; with running=true "
        "those that have not ended.",
    ),
    Route(
        "ConsoleGetJob",
        "GET",
        _ONE,
        shown,
        on_datastore("medical-imaging:GetDICOMImportJob"),
        action="`medical-imaging:GetDICOMImportJob` on the data store",
        says="How far an import job is: its phase, and how many files were found, read, imported and failed.",
    ),
    Route(
        "ConsoleGetJobReasons",
        "GET",
        f"{_ONE}/reasons",
        reasons,
        on_datastore("medical-imaging:GetDICOMImportJob"),
        action=_NAMES,
        says="Why files were not imported, or imported with a warning, grouped by cause, each with the name "
        "of a file; and the studies that were imported into. While the job runs, so far.",
    ),
    Route(
        "ConsoleGetJobReport",
        "GET",
        f"{_ONE}/report/{{part}}",
        report,
        on_datastore("medical-imaging:GetDICOMImportJob"),
        where="loop",
        action=_NAMES,
        says="A file of the report: manifest, success, failure or warning.",
    ),
    Route(
        "ConsoleCancelJob",
        "POST",
        f"{_ONE}/cancel",
        cancel,
        on_datastore("medical-imaging:StartDICOMImportJob"),
        action="`medical-imaging:StartDICOMImportJob` on the data store",
        says="Stops a job that has not ended: it becomes FAILED. What is in image sets already stays.",
    ),
)
