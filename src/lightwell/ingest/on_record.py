"""What was put into image sets, as records of the audit trail: one for each version that was made."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from lightwell.domain.imports.jobs import Job
from lightwell.domain.states import JobStatus
from lightwell.ingest.merge import ImportTarget, Written
from lightwell.observe.audit.record import AuditRecord
from lightwell.stores.account import roles

IMPORTED = "ImportIntoImageSet"
STORED = "StoreIntoImageSet"
JOB_ENDED = "ImportJobEnded"


def of_job(
    conn: Connection, job: Job, target: ImportTarget, written: Sequence[Written], error: str | None = None
) -> list[AuditRecord]:
    """Of image sets that an import job has written, by whoever has started it, with which role's rights."""
    records = [_record(IMPORTED, target, each) for each in written]
    is_emergency = bool(records) and _is_emergency(conn, job.caller)
    for record in records:
        record.emergency = is_emergency
        record.job, record.role, record.error = job.id, job.role_arn or None, error
    return records


def of_stores(conn: Connection, target: ImportTarget, written: Sequence[Written]) -> list[AuditRecord]:
    """Of image sets into which requests have stored instances, by who sent them."""
    flags = {caller: _is_emergency(conn, caller) for caller in {each.caller for each in written}}
    records = [_record(STORED, target, each) for each in written]
    for record, each in zip(records, written, strict=True):
        record.emergency = flags[each.caller]
    return records


def end_of_job(
    conn: Connection, job: Job, datastore_id: str, status: JobStatus, imported: int, failed: int
) -> AuditRecord:
    """How an import job has ended, whose image sets are on record already."""
    return AuditRecord(
        operation=JOB_ENDED,
        kind="change",
        who=job.caller,
        store=datastore_id,
        job=job.id,
        role=job.role_arn or None,
        # Not its input: folders are named after people.
        query={"status": str(status), "imported": imported, "failed": failed},
        error=None if status == JobStatus.COMPLETED else "ImportJobFailed",
        emergency=_is_emergency(conn, job.caller),
    )


def _is_emergency(conn: Connection, caller: str) -> bool:
    """Whether that is the ARN of a session of a role for emergencies."""
    kind, _, name = caller.rpartition(":")[2].partition("/")
    found = roles.get(conn, name.partition("/")[0]) if kind == "assumed-role" else None
    return found is not None and found.is_for_emergencies


def _record(operation: str, target: ImportTarget, written: Written) -> AuditRecord:
    return AuditRecord(
        operation=operation,
        kind="change",
        who=written.caller,
        store=target.datastore_id,
        image_set=written.image_set,
        version=written.version,
        patient=written.patient,
        study=written.study,
        series=written.series,
        instances=written.instances,
    )
