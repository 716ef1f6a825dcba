"""StartDICOMImportJob, GetDICOMImportJob, ListDICOMImportJobs; jobs of ``lightwell import``; cancelling.

Sources: the service model, devguide/understanding-import-jobs, devguide/endpoints-quotas. A job is accepted
without looking into its buckets; that happens while it runs, and a job that cannot run ends FAILED with a
message.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lightwell.domain import page_tokens
from lightwell.domain.datastore import DataStore
from lightwell.domain.events import import_job_event
from lightwell.domain.imports.jobs import Job, clean_message, output_folder, split_uri
from lightwell.domain.imports.uploads import UPLOADS
from lightwell.domain.states import DatastoreStatus, JobPhase, JobStatus
from lightwell.errors import (
    AccessDeniedError,
    ConflictError,
    InputError,
    InternalError,
    NotFoundError,
    QuotaExceededError,
    StorageError,
    ValidationError,
)
from lightwell.operations import client_tokens
from lightwell.operations.context import Context
from lightwell.stores.account import datastores
from lightwell.stores.background import outbox
from lightwell.stores.data_folder.node import NOBODY
from lightwell.stores.data_folder.process_lock import ENGINE, ProcessLock
from lightwell.stores.jobs import import_jobs, staging, transitions, units, uploads
from lightwell.wire import shapes

if TYPE_CHECKING:
    from sqlalchemy import Connection

PAGE = 50
# devguide/endpoints-quotas: concurrent import jobs of a data store.
_CONCURRENT = 100
# devguide/understanding-import-jobs: how long jobs stay in the list, ms.
_LISTED_FOR = 90 * 24 * 3600 * 1000
LOCAL_BUCKET = "lightwell-imports"
# Built at import time rather than at its use: see `wire.parse.READY`.
_configuration = msgspec.json.Decoder(shapes.ImportConfiguration)
_LOCAL_ROLE = "arn:aws:iam::{account}:role/lightwell-import"


def encoded_configuration(request: shapes.StartDICOMImportJobRequest) -> bytes | None:
    """The import configuration as a job keeps it, JSON."""
    configuration = request.import_configuration
    return None if configuration is None else msgspec.json.encode(configuration)


def start_dicom_import_job(
    ctx: Context, request: shapes.StartDICOMImportJobRequest
) -> shapes.StartDICOMImportJobResponse:
    """Accept a job, or repeat the response if the client token was used for the same request before.

    Raises `NotFoundError` and `ConflictError` for a data store that is not ACTIVE, `ConflictError` for a
    token used with other parameters, `QuotaExceededError` for too many running jobs where quotas are
    enforced, `ValidationError` for a bucket in a folder of a server that does no work.
    """
    ctx.note.query = {
        "inputS3Uri": request.input_s3_uri,
        "outputS3Uri": request.output_s3_uri,
        "dataAccessRoleArn": request.data_access_role_arn,
    }
    asked = msgspec.json.encode(msgspec.structs.replace(request, client_token=""), order="sorted")
    job = _submit(
        ctx,
        request.datastore_id,
        _JobInput(
            name=request.job_name,
            role_arn=request.data_access_role_arn,
            input_uri=request.input_s3_uri,
            output_uri=request.output_s3_uri,
            input_owner=request.input_owner_account_id,
            configuration=encoded_configuration(request),
        ),
        _ClientToken(request.client_token, hashlib.sha256(asked).digest()),
    )
    return shapes.StartDICOMImportJobResponse(
        datastore_id=request.datastore_id,
        job_id=job.id,
        job_status=JobStatus.SUBMITTED,
        submitted_at=job.submitted_at / 1000,
    )


def absolute_sources(sources: Sequence[str]) -> list[str]:
    """What ``lightwell import`` was given, with absolute paths; ``s3://`` URIs stay as they are.

    Raises `InputError` for a path that does not exist.
    """
    named = []
    for source in sources:
        if source.startswith("s3://"):
            named.append(source)
            continue
        path = Path(source).absolute()
        if not path.exists():
            raise InputError(f"{source} does not exist")
        named.append(str(path))
    if not named:
        raise InputError("nothing to import: name files, folders, zip files or s3:// URIs")
    return named


def submit_local(ctx: Context, datastore_id: str, sources: Sequence[str], *, name: str | None = None) -> Job:
    """Submit a job of ``lightwell import``: files, folders, zip files, a DICOMDIR or ``s3://`` URIs.

    Its report is written to the local bucket ``lightwell-imports``. Raises as `absolute_sources`.
    """
    named = absolute_sources(sources)
    bucket = ctx.stores.buckets.root / LOCAL_BUCKET
    try:
        bucket.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{bucket} cannot be created: {error.strerror}.") from error
    shown = next((s for s in named if s.startswith("s3://")), f"s3://{LOCAL_BUCKET}/")
    return _submit(
        ctx,
        datastore_id,
        _JobInput(
            name=name,
            role_arn=_LOCAL_ROLE.format(account=ctx.settings.account_id),
            input_uri=shown,
            output_uri=f"s3://{LOCAL_BUCKET}",
            source=json.dumps(named).encode(),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _JobInput:
    """What a new job is given; see `Job` for the fields."""

    name: str | None
    role_arn: str
    input_uri: str
    output_uri: str
    input_owner: str | None = None
    configuration: bytes | None = None
    source: bytes | None = None

    @property
    def sources(self) -> list[str]:
        """The URIs and local paths to import from."""
        return [self.input_uri] if self.source is None else json.loads(self.source)


@dataclass(frozen=True, slots=True)
class _ClientToken:
    """A client token, and the SHA-256 of the request that came with it."""

    token: str
    request_hash: bytes


def _submit(
    ctx: Context, datastore_id: str, given: _JobInput, client_token: _ClientToken | None = None
) -> Job:
    now, id, key, event_id = ctx.clock.now(), ctx.ids.id(), ctx.ids.key(), ctx.ids.id()
    # `lightwell import` works itself where nobody else does.
    has_engine = None if client_token is None else has_engine_here
    input_node, output_node = nodes_of_buckets(ctx, given.sources, given.output_uri, has_engine)
    output_uri = output_folder(given.output_uri, datastore_id, id)
    event = import_job_event(
        "Import Job Submitted",
        ctx.event_header(event_id, now, datastore_id),
        job_id=id,
        job_name=given.name,
        job_status=JobStatus.SUBMITTED,
        input_uri=given.input_uri,
        output_uri=output_uri,
    )

    def work(conn: Connection) -> Job:
        if client_token is not None:
            token, request_hash = client_token.token, client_token.request_hash
            known = client_tokens.claim(ctx, conn, "StartDICOMImportJob", token, request_hash, id, now)
            before = known and _find_job(conn, datastore_id, known)
            if before:
                return before
        store = datastores.get(conn, datastore_id, hold=True)
        _check_active(store, datastore_id)
        assert store is not None
        if client_token is not None:
            _check_upload(ctx, conn, store, given.input_uri)
        if ctx.settings.quotas == "aws" and import_jobs.count_running(conn, store.key) >= _CONCURRENT:
            raise QuotaExceededError(
                f"Datastore {datastore_id} has {_CONCURRENT} import jobs that are submitted or in progress. "
                "Wait for one of them to end."
            )
        job = Job(
            key=key,
            id=id,
            datastore=store.key,
            name=given.name,
            status=JobStatus.SUBMITTED,
            phase=JobPhase.LIST,
            message=None,
            role_arn=given.role_arn,
            input_uri=given.input_uri,
            output_uri=output_uri,
            input_owner=given.input_owner,
            configuration=given.configuration,
            source=given.source,
            caller=ctx.caller.arn,
            submitted_at=now,
            ended_at=None,
            scanned=0,
            read=0,
            input_node=input_node,
            output_node=output_node,
            assumes_role=ctx.is_restricted,
            owner=ctx.caller.owner,
            emergency=ctx.caller.emergency,
        )
        ctx.stores.keys.give_key(conn, store.key, ctx.ids.key, now)
        import_jobs.add(conn, job)
        units.add(conn, transitions.queued(job, JobPhase.LIST), [units.NewUnit(0)], ctx.stores.enqueue)
        outbox.append(conn, event)
        return job

    submitted = ctx.stores.db.write(work)
    ctx.stores.wake_engine()
    return submitted


def nodes_of_buckets(
    ctx: Context, inputs: Sequence[str], output: str, has_engine: Callable[[Context], bool] | None
) -> tuple[str | None, str | None]:
    """The nodes whose folders hold input and output; see `domain.imports.jobs.Job`.

    Decided once, by the server that accepts the job: a name that is a folder here may be another folder, or
    an S3 bucket, for the next server. Raises `ValidationError` for a folder here that nobody would work on,
    as ``has_engine`` tells.
    """
    node = ctx.stores.node_id
    if node is None:
        return None, None

    def is_near(uri: str) -> bool:
        return not uri.startswith("s3://") or ctx.stores.buckets.is_local(split_uri(uri)[0])

    near = next((uri for uri in (*inputs, output) if is_near(uri)), None)
    if near is not None and has_engine is not None and not has_engine(ctx):
        raise ValidationError(
            f"{near} is in a folder of this server, which does no background work, so nobody would read or "
            "write it there. Use a bucket of S3, send the request to a server that does its own work, or run "
            "`lightwell worker` on this server's data folder."
        )
    return node if any(map(is_near, inputs)) else NOBODY, node if is_near(output) else NOBODY


def has_engine_here(ctx: Context) -> bool:
    """Whether this server works on jobs, or another process does on its data folder."""
    return ctx.settings.work == "on" or ProcessLock(ctx.settings.data, ENGINE).holder() is not None


def _check_upload(ctx: Context, conn: Connection, store: DataStore, input_uri: str) -> None:
    """Raise `AccessDeniedError` for files that the console has taken, unless all are of one upload of the
    caller's to this data store. Lists of jobs tell the id of an upload to others.

    How many files it has goes on record: each that was sent has no record of its own.
    """
    bucket, prefix = split_uri(input_uri)
    is_below, is_above = prefix.startswith(UPLOADS), UPLOADS.startswith(prefix)
    if not is_below and not is_above:
        return
    if not uploads.is_in_use(conn, bucket, ctx.settings) and not (
        is_below and bucket == ctx.settings.upload_bucket
    ):
        return
    parts = prefix.split("/")
    # The whole of it, which is how the job of an upload is found.
    if len(parts) == 4 and not parts[3] and parts[1] == store.id:
        upload = uploads.find(conn, store.key, ctx.caller.owner, parts[2])
        is_its = upload is not None and bucket == uploads.bucket_of(upload, ctx.settings)
        if upload is not None and is_its and uploads.hold(conn, upload.id):
            ctx.note.items, ctx.note.found = [upload.id], upload.arrived_files
            return
    raise AccessDeniedError(
        "The input has what somebody has uploaded by the console. Only who has sent an upload may import it, "
        "into the data store that it was sent to; for anything else name another folder of the bucket than "
        f"{UPLOADS}."
    )


def _find_job(conn: Connection, datastore_id: str, job_id: str) -> Job | None:
    store = datastores.get(conn, datastore_id)
    return None if store is None else import_jobs.find(conn, store.key, job_id)


def _check_active(store: DataStore | None, datastore_id: str) -> None:
    if store is None or store.status == DatastoreStatus.DELETED:
        raise _unknown_datastore(datastore_id)
    if store.status != DatastoreStatus.ACTIVE:
        raise ConflictError(
            f"Datastore {datastore_id} is {store.status}; imports require an ACTIVE data store."
        )


def get_dicom_import_job(
    ctx: Context, request: shapes.GetDICOMImportJobRequest
) -> shapes.GetDICOMImportJobResponse:
    """The properties of a job, without its configuration where the key that opens it is not to be had.

    Raises `NotFoundError` for an unknown data store or job.
    """
    with ctx.stores.db.read() as conn:
        job = _find_job(conn, request.datastore_id, request.job_id)
        given = None if job is None else import_jobs.shown_configuration(conn, job)
    if job is None:
        raise NotFoundError(
            f"Import job {request.job_id} does not exist in datastore {request.datastore_id}."
        )
    configuration = None if given is None else _configuration.decode(given)
    return shapes.GetDICOMImportJobResponse(
        job_properties=shapes.DICOMImportJobProperties(
            job_id=job.id,
            job_name=job.name,
            job_status=job.status,
            datastore_id=request.datastore_id,
            data_access_role_arn=job.role_arn,
            ended_at=None if job.ended_at is None else job.ended_at / 1000,
            submitted_at=job.submitted_at / 1000,
            input_s3_uri=job.input_uri,
            output_s3_uri=job.output_uri,
            message=job.message,
            import_configuration=configuration,
        )
    )


def list_dicom_import_jobs(
    ctx: Context, request: shapes.ListDICOMImportJobsRequest
) -> shapes.ListDICOMImportJobsResponse:
    """The jobs of a data store, newest first; in pages of ``maxResults``, by default 50.

    A job leaves the list 90 days after it was submitted; GetDICOMImportJob still finds it.
    """
    after = page_tokens.after(request.next_token)
    limit = request.max_results or PAGE
    with ctx.stores.db.read() as conn:
        store = datastores.get(conn, request.datastore_id)
        if store is None:
            raise _unknown_datastore(request.datastore_id)
        since = ctx.clock.now() - _LISTED_FOR
        status = None if request.job_status is None else JobStatus(request.job_status)
        found = import_jobs.page(conn, store.key, status, limit + 1, after, since=since)
    shown = found[:limit]
    return shapes.ListDICOMImportJobsResponse(
        job_summaries=[
            shapes.DICOMImportJobSummary(
                job_id=job.id,
                job_name=job.name,
                job_status=job.status,
                datastore_id=request.datastore_id,
                data_access_role_arn=job.role_arn,
                ended_at=None if job.ended_at is None else job.ended_at / 1000,
                submitted_at=job.submitted_at / 1000,
                message=job.message,
            )
            for job in shown
        ],
        next_token=page_tokens.encode([shown[-1].submitted_at, shown[-1].key])
        if len(found) > limit
        else None,
    )


def cancel_import_job(ctx: Context, job: Job) -> Job:
    """Cancel a job: an extension, since the service cannot. It becomes FAILED with a message.

    It takes one transaction, in any phase and whichever engine works on the job: that engine finds its claim
    void at its next step and drops what it has. What was read and is in no image set yet is garbage for the
    collector. What is in image sets stays, and the message says how much that is. As every failed job, it has
    no report.

    Returns the ended job. Raises `ConflictError` if it had ended before.
    """
    now, event_id = ctx.clock.now(), ctx.ids.id()

    def work(conn: Connection) -> bool:
        locked = transitions.lock_to_end(conn, job.key)
        if locked is None:
            return False
        imported = staging.counts(conn, job.key).imported
        transitions.end(conn, job.key, clean_message(_why_cancelled(locked, imported)), now)
        datastore_id, _ = import_jobs.datastore_of(conn, job.key)
        outbox.append(
            conn,
            import_job_event(
                "Import Job Failed",
                ctx.event_header(event_id, now, datastore_id),
                job_id=job.id,
                job_name=job.name,
                job_status=JobStatus.FAILED,
                input_uri=job.input_uri,
                output_uri=job.output_uri,
            ),
        )
        return True

    was_running = ctx.stores.db.write(work)
    with ctx.stores.db.read() as conn:
        ended = import_jobs.get(conn, job.key)
    if ended is None:
        raise InternalError(f"Import job {job.id} has disappeared from the database.")
    if not was_running:
        raise ConflictError(f"Import job {job.id} has ended before: it is {ended.status}.")
    return ended


def _why_cancelled(job: Job, imported: int) -> str:
    if job.phase == JobPhase.REPORT:
        return (
            f"Cancelled while its report was being written: {_files(imported)} imported before that, which "
            "is not undone."
        )
    if imported == 0:
        return "Cancelled before any of its files was imported."
    return f"Cancelled: {_files(imported)} imported before that, which is not undone, the others were not."


def _files(count: int) -> str:
    return "1 file was" if count == 1 else f"{count} files were"


def _unknown_datastore(datastore_id: str) -> NotFoundError:
    return NotFoundError(f"Datastore {datastore_id} does not exist.")
