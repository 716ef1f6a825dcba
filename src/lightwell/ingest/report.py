"""Writes a job's output folder: the manifest and the three ndjson files, always all of them.

They are made from the outcome rows, in bounded memory; writing them again yields the same.
"""

from __future__ import annotations

import json
from pathlib import Path

from lightwell.domain.imports import manifests
from lightwell.domain.imports.jobs import Job, split_uri
from lightwell.domain.states import OutcomeKind
from lightwell.errors import StorageError
from lightwell.stores import Stores
from lightwell.stores.data_folder.held_folders import held_folder
from lightwell.stores.jobs import staging

_PAGE = 2000
_OUTCOMES = (manifests.SUCCESS, manifests.FAILURE, manifests.WARNING)


def write_report(stores: Stores, job: Job, datastore_id: str) -> None:
    """Put the report into the output bucket.

    Raises `StorageError` if the outcomes do not account for every scanned file, or if the bucket cannot be
    written to; `InputError` if there is no such bucket.
    """
    bucket, folder = split_uri(job.output_uri)
    buckets = stores.output_buckets(job)
    buckets.remove_unfinished(bucket, folder)
    with held_folder(stores.spool, "report-") as place:
        _write_lines(stores, job, place)
        with stores.db.read() as conn:
            counts = staging.counts(conn, job.key)
            sets = staging.set_summaries(conn, job.key)
        if counts.total != job.scanned:
            raise StorageError(
                f"Job {job.id} has scanned {job.scanned} files but recorded {counts.total} outcomes: "
                "this is a fault in lightwell, please report it."
            )
        for path in _OUTCOMES:
            buckets.put_file(bucket, folder + path, place / Path(path).name)
        # The manifest comes last: once it exists, everything that it names does.
        manifest = json.dumps(manifests.job_summary(job, datastore_id, counts, sets), indent=2)
        buckets.put(bucket, folder + manifests.MANIFEST, manifest.encode())


def _write_lines(stores: Stores, job: Job, place: Path) -> None:
    names = [Path(path).name for path in _OUTCOMES]
    success, failure, warning = [(place / name).open("wb") for name in names]
    with success, failure, warning:
        after = -1
        while True:
            with stores.db.read() as conn:
                page = staging.outcomes(conn, job.key, after, _PAGE)
            if not page:
                return
            after = page[-1].file
            for outcome in page:
                if outcome.kind != OutcomeKind.IMPORTED:
                    failure.write(manifests.encode_line(manifests.failure_line(outcome)))
                    continue
                success.write(manifests.encode_line(manifests.success_line(outcome)))
                if outcome.warnings:
                    warning.write(manifests.encode_line(manifests.warning_line(outcome)))


def keys(job: Job) -> list[str]:
    """The keys of everything that `write_report` writes, in the bucket of the job's output."""
    folder = split_uri(job.output_uri)[1]
    return [folder + path for path in (*_OUTCOMES, manifests.MANIFEST)]


def check_output(stores: Stores, job: Job) -> None:
    """Make sure that the report can be written. Raises what `Buckets.put` raises.

    It leaves an empty file, which the report replaces.
    """
    bucket, folder = split_uri(job.output_uri)
    stores.output_buckets(job).put(bucket, folder + manifests.SUCCESS, b"")
