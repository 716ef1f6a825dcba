"""What was put into image sets, as records of the audit trail: one for each version that was made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightwell.domain.imports.jobs import Job
from lightwell.domain.imports.manifests import OutcomeCounts
from lightwell.domain.states import JobStatus
from lightwell.ingest.merge import ImportTarget, Written
from lightwell.observe.audit.record import AuditRecord

IMPORTED = "ImportIntoImageSet"
STORED = "StoreIntoImageSet"
JOB_ENDED = "ImportJobEnded"


def of_job(
    job: Job, target: ImportTarget, written: Sequence[Written], error: str | None = None
) -> list[AuditRecord]:
    """Of image sets that an import job has written, by whoever has started it, with which role's rights."""
    records = [_record(IMPORTED, target, each) for each in written]
    for record in records:
        record.job, record.role, record.error = job.id, job.role_arn or None, error
    return records


def of_stores(target: ImportTarget, written: Sequence[Written]) -> list[AuditRecord]:
    """Of image sets into which requests have stored instances, by who sent them."""
    return [_record(STORED, target, each) for each in written]


def end_of_job(job: Job, datastore_id: str, status: JobStatus, files: OutcomeCounts) -> AuditRecord:
    """How an import job has ended, whose image sets are on record already."""
    return AuditRecord(
        operation=JOB_ENDED,
        kind="change",
        who=job.caller,
        store=datastore_id,
        job=job.id,
        role=job.role_arn or None,
        query=counted(status, files),
        error=None if status == JobStatus.COMPLETED else "ImportJobFailed",
        emergency=bool(job.emergency),
    )


def counted(status: JobStatus, files: OutcomeCounts) -> dict[str, Any]:
    """How it has ended, and for how many files. Not its input: folders are named after people."""
    return {"status": str(status), "imported": files.imported, "failed": files.customer + files.server}


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
        emergency=written.emergency,
    )
