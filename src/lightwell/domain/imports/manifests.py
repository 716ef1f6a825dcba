"""The files that an import job writes to its output folder.

Source: devguide/understanding-import-jobs; the four keys of an image set's summary are those that a
production client requires.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from lightwell.domain.imports.jobs import NOT_DICOM, Job, Outcome

MANIFEST = "job-output-manifest.json"
SUCCESS = "SUCCESS/success.ndjson"
FAILURE = "FAILURE/failure.ndjson"
WARNING = "WARNING/warning.ndjson"

UNREADABLE = "DICOM attributes does not exist"
"""AWS's words for a file that cannot be read as DICOM."""

PLAIN = {
    UNREADABLE: "it is damaged at its beginning, or a data set without preamble and file meta information: "
    "have it sent again as a DICOM file"
}
"""For a person, who needs more than AWS's words say."""


@dataclass(frozen=True, slots=True)
class SetSummary:
    """One image set version that a job made, and how many of the job's files are in it."""

    image_set: str
    version: int
    is_primary: bool
    matched: int


@dataclass(frozen=True, slots=True)
class OutcomeCounts:
    """How many files of a job had which outcome."""

    imported: int
    customer: int
    server: int

    @property
    def total(self) -> int:
        return self.imported + self.customer + self.server


def encode_line(value: dict[str, Any]) -> bytes:
    """One line of an ndjson file, with its newline."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"


def success_line(outcome: Outcome) -> dict[str, Any]:
    return {
        "inputFile": outcome.input_file,
        "importResponse": {
            "imageSetId": outcome.image_set,
            "imageSetVersion": outcome.version,
            "isPrimary": outcome.is_primary,
        },
    }


def warning_line(outcome: Outcome) -> dict[str, Any]:
    value = success_line(outcome)
    value["importResponse"]["warnings"] = json.loads(outcome.warnings or "[]")
    return value


def failure_line(outcome: Outcome) -> dict[str, Any]:
    message = UNREADABLE if outcome.message == NOT_DICOM else outcome.message
    return {
        "inputFile": outcome.input_file,
        "exception": {"exceptionType": outcome.exception_type, "message": message},
    }


def job_summary(job: Job, datastore_id: str, counts: OutcomeCounts, sets: list[SetSummary]) -> dict[str, Any]:
    """The content of ``job-output-manifest.json``."""
    folder = job.output_uri
    return {
        "jobSummary": {
            "jobId": job.id,
            "datastoreId": datastore_id,
            "inputS3Uri": job.input_uri,
            "outputS3Uri": folder,
            "successOutputS3Uri": f"{folder}SUCCESS/",
            "failureOutputS3Uri": f"{folder}FAILURE/",
            "warningsOutputS3Uri": f"{folder}WARNING/",
            "numberOfScannedFiles": job.scanned,
            "numberOfImportedFiles": counts.imported,
            "numberOfFilesWithCustomerError": counts.customer,
            "numberOfFilesWithServerError": counts.server,
            "numberOfGeneratedImageSets": len(sets),
            "imageSetsSummary": [
                {
                    "imageSetId": s.image_set,
                    "imageSetVersion": s.version,
                    "isPrimary": s.is_primary,
                    "numberOfMatchedSOPInstances": s.matched,
                }
                for s in sets
            ],
        }
    }
