"""StoreDICOM and StoreDICOMStudy: turn a spooled upload into versions of image sets.

Source: PS3.18 §10.5.3 and Annex I (Store Instances Response Module), AWS's dicomweb-storing page. Codec
workers read it and the work process commits it (`codec_pool.client`), so everything is durable before the
response is sent.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from lightwell.codec_pool.requests import InstanceRefused, InstanceStored, Spooled, Store, Stored
from lightwell.domain.imports.store_response import InstanceResult, report, status
from lightwell.domain.states import DatastoreStatus
from lightwell.errors import InternalError, NotFoundError, StorageError, UnavailableError
from lightwell.imaging.dataset.part10 import meta_uids
from lightwell.operations.context import Context
from lightwell.operations.dicomweb.lookup import check_ids, check_uids
from lightwell.stores.account import datastores
from lightwell.stores.data_folder.uploads import Upload

__all__ = ["Upload", "begin_upload", "store_instances"]

# Longer than any file may take; clients give up long before.
_SECONDS = 6 * 3600.0
_META = 4096


@dataclass(frozen=True, slots=True)
class StoreResult:
    """The status, 200, 202 or 409, and the response module in JSON or XML (PS3.19 §A.1)."""

    status: int
    content_type: str
    body: bytes


def begin_upload(ctx: Context, datastore_id: str, study: str | None) -> Upload:
    """An empty upload in the spool, if the data store takes uploads.

    Raises `NotFoundError` for a data store that is not active, `ValidationError` for a malformed UID.
    """
    check_ids(datastore_id)
    if study is not None:
        check_uids(study)
    with ctx.stores.db.read() as conn:
        found = datastores.get(conn, datastore_id)
    if found is None or found.status != DatastoreStatus.ACTIVE:
        raise NotFoundError(f"Datastore {datastore_id} does not exist or is not active.")
    try:
        return Upload(ctx.stores.spool)
    except StorageError as error:
        raise UnavailableError(str(error)) from error


def store_instances(
    ctx: Context,
    datastore_id: str,
    study: str | None,
    upload: Upload,
    parts: Sequence[tuple[int, int]],
    base_url: str,
    kind: str,
) -> StoreResult:
    """Store ``parts``, the (offset, length) of files in the upload; what can be stored is durable on return.

    With ``study``, instances of other studies fail. Raises what `CodecPoolClient.ask` raises.
    """
    path = str(upload.path)
    files = [Spooled(path, *place, f"part {n}") for n, place in enumerate(parts, 1)]
    if ctx.pool is None:
        raise InternalError("Nothing can be stored: this process has no codec workers.")
    answer = ctx.pool.ask(Store(datastore_id, study, ctx.caller.arn, files), _SECONDS)
    if not isinstance(answer, Stored):
        raise InternalError(f"The work process answered {type(answer).__name__}.")
    instances = [_instance(n, file, upload, parts[n]) for n, file in enumerate(answer.files)]
    module = report(instances, base_url)
    body = json.dumps(module, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    if kind.endswith("+xml"):
        from lightwell.imaging.dataset.dicom_xml import native_model

        body = native_model(body)
    return StoreResult(status(instances), kind, body)


def _instance(
    number: int, file: InstanceStored | InstanceRefused, upload: Upload, place: tuple[int, int]
) -> InstanceResult:
    if isinstance(file, InstanceStored):
        return InstanceResult(
            number,
            file.sop_class_uid,
            file.sop_instance_uid,
            study_instance_uid=file.study_instance_uid,
            series_instance_uid=file.series_instance_uid,
            warnings=file.warnings,
        )
    # A file that could not be read mostly has a readable file meta group that names it.
    sop_class_uid, sop_instance_uid = meta_uids(upload.head(place[0], min(place[1], _META)))
    return InstanceResult(number, sop_class_uid, sop_instance_uid, reason=file.reason, message=file.message)
