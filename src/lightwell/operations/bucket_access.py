"""What StartDICOMImportJob asks of the role that it names, before there is a job."""

from __future__ import annotations

from lightwell.domain.imports import bucket_rights
from lightwell.domain.imports.bucket_rights import GET, PUT, Access, Rights
from lightwell.domain.imports.jobs import output_folder, split_uri
from lightwell.errors import AccessDeniedError
from lightwell.ingest import overrides
from lightwell.operations.import_jobs import encoded_configuration
from lightwell.wire import shapes


def check(rights: Rights, request: shapes.StartDICOMImportJobRequest) -> None:
    """Raises `AccessDeniedError` where no file of the job could be listed, read, or written.

    What there is below the input is not known yet, so each file is asked about again when it is listed.
    """
    bucket, prefix = split_uri(request.input_s3_uri)
    keys = overrides.keys(encoded_configuration(request), prefix)
    # The id of the job is what the folder's name ends with.
    output = output_folder(request.output_s3_uri, request.datastore_id, "").rstrip("/")
    for refusal in (
        bucket_rights.first_refusal(
            rights, *bucket_rights.listing(bucket, prefix, bucket_rights.as_folder(prefix))
        ),
        rights.refusal(Access(GET, bucket, prefix, below=True)),
        *(rights.refusal(Access(GET, bucket, key)) for key in keys),
        rights.refusal(Access(PUT, *split_uri(output), below=True)),
    ):
        if refusal is not None:
            raise refused(refusal)


def refused(reason: str) -> AccessDeniedError:
    """The answer to who names a role that cannot be used."""
    return AccessDeniedError(bucket_rights.unusable(reason))
