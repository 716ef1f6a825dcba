"""Whether the role that an import job names allows what the job does in buckets, when it does it.

When a job is submitted (`operations.bucket_access`), it can only be asked whether anything may be read and
written at all; here each key is asked about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from lightwell.domain.imports import bucket_rights
from lightwell.domain.imports.bucket_rights import GET, PUT, Access, Rights
from lightwell.domain.imports.jobs import Job, split_uri
from lightwell.errors import LightwellError, StorageError
from lightwell.ingest import overrides, report
from lightwell.stores.buckets.registry import Buckets
from lightwell.work.imports.chunk_writer import JobFailed
from lightwell.work.imports.listing import ListedFile, folder_prefix

DENIED = "AccessDeniedException"
"""AWS's name for a file that the role may not read, in ``failure.ndjson``."""


class RoleAssumer(Protocol):
    """Assumes roles; see `auth.data_access_role.DataAccessRoles`."""

    def assume(self, role_arn: str, datastore_id: str, now: int) -> Rights:
        """Raises a `LightwellError` if the service cannot assume it."""


def rights_of(job: Job, datastore_id: str, data_access: RoleAssumer | None, now: int) -> Rights | None:
    """The rights of the job's role as it is now; None for a job that needs none.

    Raises `JobFailed` if the role no longer exists or no longer trusts this service.
    """
    if not job.assumes_role:
        return None
    if data_access is None:
        raise JobFailed("This process cannot assume roles: let lightwell serve do this job.")
    try:
        return data_access.assume(job.role_arn, datastore_id, now)
    except StorageError:
        raise
    except LightwellError as error:
        raise _failed(str(error)) from None


def check_input(rights: Rights, job: Job, buckets: Buckets) -> None:
    """Raises `JobFailed` unless the input may be listed, and the files of a metadata override read."""
    bucket, prefix = split_uri(job.input_uri)
    # First, before anything is looked up, what the URI may mean; then what it does mean.
    _check(rights, *bucket_rights.listing_accesses(bucket, prefix, bucket_rights.as_folder(prefix)))
    _check(rights, *bucket_rights.listing_accesses(bucket, folder_prefix(buckets, bucket, prefix), prefix))
    for key in overrides.keys(job.configuration, prefix):
        _check(rights, Access(GET, bucket, key))


def readable(rights: Rights, job: Job, listed: Iterator[ListedFile]) -> Iterator[ListedFile]:
    """The files of the job's bucket; each that may not be read gets the reason as its refusal."""
    bucket, _ = split_uri(job.input_uri)
    for file in listed:
        refusal = file.refusal or rights.refusal(Access(GET, bucket, file.name))
        yield file if refusal is None else replace(file, refusal=refusal, error=DENIED)


def check_output(rights: Rights, job: Job) -> None:
    """Raises `JobFailed` unless the report may be written."""
    bucket, _ = split_uri(job.output_uri)
    for key in report.keys(job):
        _check(rights, Access(PUT, bucket, key))


def _check(rights: Rights, *either: Access) -> None:
    refusal = bucket_rights.first_refusal(rights, *either)
    if refusal is not None:
        raise _failed(refusal)


def _failed(reason: str) -> JobFailed:
    return JobFailed(bucket_rights.unusable_role_message(reason))
