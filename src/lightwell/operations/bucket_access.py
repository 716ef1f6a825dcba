"""The bucket rights that StartDICOMImportJob requires of the role that it names, before a job exists."""

from __future__ import annotations

from lightwell.domain.imports import bucket_rights
from lightwell.domain.imports.bucket_rights import GET, PUT, Access, Rights
from lightwell.domain.imports.jobs import output_folder, split_uri
from lightwell.errors import AccessDeniedError
from lightwell.ingest import overrides
from lightwell.operations.import_jobs import encoded_configuration
from lightwell.wire import shapes


def check_bucket_access(rights: Rights, request: shapes.StartDICOMImportJobRequest) -> None:
    """Raises `AccessDeniedError` where the role could not list, read or write any file of the job.

    The keys below the input are not known yet, so each file is checked again when it is listed.
    """
    bucket, prefix = split_uri(request.input_s3_uri)
    keys = overrides.keys(encoded_configuration(request), prefix)
    # The id of the job is what the folder's name ends with.
    output = output_folder(request.output_s3_uri, request.datastore_id, "").rstrip("/")
    for refusal in (
        bucket_rights.first_refusal(
            rights, *bucket_rights.listing_accesses(bucket, prefix, bucket_rights.as_folder(prefix))
        ),
        rights.refusal(Access(GET, bucket, prefix, below=True)),
        *(rights.refusal(Access(GET, bucket, key)) for key in keys),
        rights.refusal(Access(PUT, *split_uri(output), below=True)),
    ):
        if refusal is not None:
            raise unusable_role(refusal)


def unusable_role(reason: str) -> AccessDeniedError:
    """The error for a request that names a role that cannot be used."""
    return AccessDeniedError(bucket_rights.unusable_role_message(reason))
