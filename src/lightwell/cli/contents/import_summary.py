"""What `lightwell import` says at its end, for a person and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lightwell.cli.wording import counted, printable
from lightwell.domain.datastore import DataStore
from lightwell.domain.imports.jobs import Job
from lightwell.domain.imports.manifests import PLAIN
from lightwell.domain.states import JobStatus
from lightwell.stores.jobs.outcomes import OutcomeCause, Tally

_MOST_CAUSES, _MOST_NAMES = 20, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSummary:
    """The end of an import job, or with ``check`` of a dry run, of which nothing is left.

    ``report`` is the folder of the job's manifests.
    """

    store: DataStore
    job: Job
    tally: Tally
    report: Path
    check: bool

    def exit_code(self, *, strict: bool) -> int:
        """0 if there were DICOM files and all were imported; with ``strict``, and there were no others."""
        tally = self.tally
        refused = tally.customer + tally.server + (tally.not_dicom if strict else 0)
        return 0 if self.job.status == JobStatus.COMPLETED and tally.imported and not refused else 1

    def as_json(self) -> dict[str, object]:
        job, tally, kept = self.job, self.tally, not self.check
        return {
            "datastoreId": self.store.id if kept else None,
            "jobId": job.id if kept else None,
            "jobStatus": job.status,
            "message": job.message,
            "outputS3Uri": job.output_uri if kept else None,
            "reportPath": str(self.report) if kept else None,
            "numberOfScannedFiles": tally.files,
            "numberOfImportedFiles": tally.imported,
            "numberOfFilesAlreadyThere": tally.already_there,
            "numberOfFilesNotDicom": tally.not_dicom,
            "numberOfFilesWithCustomerError": tally.customer,
            "numberOfFilesWithServerError": tally.server,
            "filesNotDicom": tally.not_dicom_names,
            "imageSets": tally.image_sets if kept else len(tally.image_sets),
            "reasons": _causes_as_json(tally.failures),
            "warnings": _causes_as_json(tally.warnings),
        }

    def as_text(self) -> str:
        job, tally = self.job, self.tally
        verb = "would be imported" if self.check else "imported"
        files = counted(tally.files - tally.not_dicom, "file")
        lines = [f"{tally.imported:,} of {files} {verb}, {counted(len(tally.image_sets), 'image set')}"]
        if tally.already_there:
            were = "was" if tally.already_there == 1 else "were"
            lines.append(f"{tally.already_there:,} of them {were} already stored and not stored again")
        if tally.not_dicom:
            lines.append(_not_dicom(tally))
        if job.status == JobStatus.FAILED:
            lines.append(f"the job failed: {job.message}")
        elif not tally.files - tally.not_dicom:
            lines.append("there is no DICOM file in what was named")
        lines += _causes("not imported", tally.failures)
        lines += _causes("imported with a warning", tally.warnings)
        if not self.check:
            lines.append(f"data store {self.store.id} ({self.store.name})")
            lines.append(f"job        {job.id}")
            lines.append(f"report     {self.report}")
        return "\n".join(lines)


def _not_dicom(tally: Tally) -> str:
    """How many files are not DICOM, and the first names; each once, as every folder may have a .DS_Store."""
    names = list(dict.fromkeys(printable(PurePosixPath(name).name) for name in tally.not_dicom_names))
    more = ", …" if len(names) > _MOST_NAMES else ""
    are = "is" if tally.not_dicom == 1 else "are"
    return f"{counted(tally.not_dicom, 'file')} {are} not DICOM: {', '.join(names[:_MOST_NAMES])}{more}"


def _causes_as_json(causes: list[OutcomeCause]) -> list[dict[str, object]]:
    return [{"reason": cause.reason, "files": cause.files, "example": cause.example} for cause in causes]


def _causes(title: str, causes: list[OutcomeCause]) -> list[str]:
    if not causes:
        return []
    lines = [f"{title}:"]
    for cause in causes[:_MOST_CAUSES]:
        reason = PLAIN.get(cause.reason, cause.reason)
        lines += [f"  {cause.files:>6}  {reason}", f"          e.g. {printable(cause.example)}"]
    if len(causes) > _MOST_CAUSES:
        lines.append(f"  and {counted(len(causes) - _MOST_CAUSES, 'more reason')}; --json lists all")
    return lines
