"""What an import job does in buckets, asked of the role that it names at the time that it is done.

Asked when a job begins (`operations.bucket_access`) it could be no more than whether there may be anything
to read and to write; here it is about every key.
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
from lightwell.work.chunk_writer import JobFailed
from lightwell.work.listing import ListedFile, folder_prefix

DENIED = "AccessDeniedException"
"""AWS's name for a file that the role may not read, in ``failure.ndjson``."""


class RoleAssumer(Protocol):
    """Takes roles; see `auth.data_access_role.DataAccessRoles`."""

    def assume(self, role_arn: str, datastore_id: str, now: int) -> Rights:
        """Raises a `LightwellError` where the service cannot take it."""


def rights_of(job: Job, datastore_id: str, data_access: RoleAssumer | None, now: int) -> Rights | None:
    """The rights of the job's role as it is now; None for a job that needs none.

    Raises `JobFailed` where the role has gone or is no longer for this service.
    """
    if not job.assumes_role:
        return None
    if data_access is None:
        raise JobFailed("This process takes no roles: let lightwell serve do this job.")
    try:
        return data_access.assume(job.role_arn, datastore_id, now)
    except StorageError:
        raise
    except LightwellError as error:
        raise _failed(str(error)) from None


def check_input(rights: Rights, job: Job, buckets: Buckets) -> None:
    """Raises `JobFailed` unless the input may be listed, and the files of a metadata override read."""
    bucket, prefix = split_uri(job.input_uri)
    # Before anything is looked up: what the URI may mean. Then what it does mean.
    _check(rights, *bucket_rights.listing(bucket, prefix, bucket_rights.as_folder(prefix)))
    _check(rights, *bucket_rights.listing(bucket, folder_prefix(buckets, bucket, prefix), prefix))
    for key in overrides.keys(job.configuration, prefix):
        _check(rights, Access(GET, bucket, key))


def readable(rights: Rights, job: Job, found: Iterator[ListedFile]) -> Iterator[ListedFile]:
    """The files of the job's bucket; those that may not be read with the reason."""
    bucket, _ = split_uri(job.input_uri)
    for one in found:
        refusal = one.refusal or rights.refusal(Access(GET, bucket, one.name))
        yield one if refusal is None else replace(one, refusal=refusal, error=DENIED)


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
    return JobFailed(bucket_rights.unusable(reason))
