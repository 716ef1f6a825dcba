"""StoreDICOM and StoreDICOMStudy: turn a spooled upload into versions of image sets.

Source: PS3.18 §10.5.3 and Annex I (Store Instances Response Module), AWS's dicomweb-storing page. Codec
workers read it and the work process commits it (`codec_pool.client`), so everything is durable before the
response is sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightwell.codec_pool.requests import (
    DocumentKind,
    InstanceRefused,
    InstancesListed,
    InstanceStored,
    ListInstances,
    Spooled,
    Store,
    Stored,
)
from lightwell.documents.identity import note_image_sets
from lightwell.domain.imports.store_response import InstanceResult, report, status
from lightwell.domain.states import DatastoreStatus
from lightwell.errors import (
    InputError,
    InternalError,
    NotFoundError,
    StorageError,
    TooLargeError,
    UnavailableError,
    ValidationError,
)
from lightwell.imaging.assembly.bulk_parts import OCTETS, BulkPart, pack_parts
from lightwell.imaging.dataset.part10 import meta_uids
from lightwell.operations.context import Context
from lightwell.operations.dicomweb.lookup import check_ids, check_uids
from lightwell.stores.account import datastores
from lightwell.stores.data_folder.sealed_files import FileKey
from lightwell.stores.data_folder.uploads import Upload

if TYPE_CHECKING:
    from lightwell.codec_pool.client import CodecPoolClient

__all__ = [
    "OCTETS",
    "BulkPart",
    "DocumentKind",
    "StoreTarget",
    "Upload",
    "begin_upload",
    "store_files",
    "store_metadata",
]

# Longer than any file may take; clients give up long before.
_SECONDS = 6 * 3600.0
_META = 4096
# Bytes of one metadata document, which is read in memory.
_MOST_METADATA = 64 << 20


@dataclass(frozen=True, slots=True)
class StoreTarget:
    """Where to store, and how to answer.

    ``study``: instances of other studies fail. ``base_url`` is the URL of the data store. ``kind`` is the
    media type of the answer.
    """

    datastore_id: str
    study: str | None
    base_url: str
    kind: str


@dataclass(frozen=True, slots=True)
class StoreResult:
    """The status, 200, 202 or 409, and the response module in JSON or XML (PS3.19 §A.1)."""

    status: int
    content_type: str
    body: bytes


def begin_upload(ctx: Context, datastore_id: str, study: str | None) -> Upload:
    """An empty upload in the spool, if the data store takes uploads.

    Raises `NotFoundError` for a data store that is not active, `ValidationError` for a malformed UID,
    `NotBuiltError` where this server has no codec workers.
    """
    check_ids(datastore_id)
    if study is not None:
        check_uids(study)
    with ctx.stores.db.read() as conn:
        found = datastores.get(conn, datastore_id)
        sealed = found is not None and ctx.stores.keys.seals(conn, found.key)
    if found is None or found.status != DatastoreStatus.ACTIVE:
        raise NotFoundError(f"Datastore {datastore_id} does not exist or is not active.")
    if ctx.pool is not None:
        ctx.pool.require()
    try:
        return Upload(ctx.stores.spool, sealed=sealed)
    except StorageError as error:
        raise UnavailableError(str(error)) from error


def store_files(
    ctx: Context, target: StoreTarget, upload: Upload, parts: Sequence[tuple[int, int]]
) -> StoreResult:
    """Store ``parts``, the (offset, length) of files in the upload; what can be stored is durable on return.

    Raises what `CodecPoolClient.ask` raises.
    """
    path = str(upload.path)
    files = [Spooled(path, *place, f"part {n}") for n, place in enumerate(parts, 1)]

    def identify(number: int) -> tuple[str | None, str | None]:
        # A file that could not be read mostly has a readable file meta group that names it.
        offset, length = parts[number]
        return meta_uids(upload.head(offset, min(length, _META)))

    return _store(ctx, target, files, _finished(upload), identify)


def store_metadata(
    ctx: Context,
    target: StoreTarget,
    upload: Upload,
    kind: DocumentKind,
    documents: Sequence[tuple[int, int]],
    bulk: Sequence[BulkPart],
) -> StoreResult:
    """Store the instances whose metadata are in ``documents``, with the bulk data in ``bulk``.

    Raises `ValidationError` for metadata that cannot be read, and for parts that do not belong to them, and
    what `CodecPoolClient.ask` raises.
    """
    if not documents:
        raise ValidationError(f"The request has no part with the Content-Type application/dicom+{kind}.")
    if max(length for _, length in documents) > _MOST_METADATA:
        raise TooLargeError(
            f"One part has more than {_MOST_METADATA} bytes of metadata. Use several requests."
        )
    path, table = str(upload.path), upload.size
    try:
        upload.write([pack_parts(bulk)])
    except StorageError as error:
        raise UnavailableError(str(error)) from error
    key = _finished(upload)
    try:
        answer = _pool(ctx).ask(
            ListInstances(path, kind, list(documents), table, key),
            float(ctx.settings.file_timeout),
            ctx.caller.arn,
        )
    except InputError as error:
        raise ValidationError(f"{error}.") from error
    if not isinstance(answer, InstancesListed):
        raise InternalError(f"The work process answered {type(answer).__name__}.")
    listed = answer.instances
    # The worker has read untrusted bytes: what it says is not trusted either.
    if not listed or any(not 0 <= each.offset <= each.offset + each.length <= table for each in listed):
        raise InternalError("A codec worker listed instances that are not in the upload.")
    files = [
        Spooled(path, each.offset, each.length, f"instance {n}", kind, table)
        for n, each in enumerate(listed, 1)
    ]

    def identify(number: int) -> tuple[str | None, str | None]:
        return listed[number].sop_class_uid or None, listed[number].sop_instance_uid or None

    return _store(ctx, target, files, key, identify)


def _finished(upload: Upload) -> FileKey | None:
    """What opens an upload that is complete."""
    try:
        return upload.finish()
    except StorageError as error:
        raise UnavailableError(str(error)) from error


def _pool(ctx: Context) -> CodecPoolClient:
    if ctx.pool is None:
        raise InternalError("Nothing can be stored: this process has no codec workers.")
    return ctx.pool


def _store(
    ctx: Context,
    target: StoreTarget,
    files: list[Spooled],
    key: FileKey | None,
    identify: Callable[[int], tuple[str | None, str | None]],
) -> StoreResult:
    """``identify``: SOPClassUID and SOPInstanceUID of a file that could not be stored, by its number."""
    caller = ctx.caller
    store = Store(target.datastore_id, target.study, caller.arn, files, caller.emergency, key)
    answer = _pool(ctx).ask(store, _SECONDS, caller.arn)
    if not isinstance(answer, Stored):
        raise InternalError(f"The work process answered {type(answer).__name__}.")
    _note(ctx, target, answer.files)
    instances = [_instance(n, file, identify) for n, file in enumerate(answer.files)]
    module = report(instances, target.base_url)
    body = json.dumps(module, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    if target.kind.endswith("+xml"):
        from lightwell.imaging.dataset.dicom_xml import native_model

        body = native_model(body)
    return StoreResult(status(instances), target.kind, body)


def _note(ctx: Context, target: StoreTarget, files: Sequence[InstanceStored | InstanceRefused]) -> None:
    """Note for the audit trail what was stored, and whom the sets are about that it was put into."""
    stored = [file for file in files if isinstance(file, InstanceStored)]
    ctx.note.found = len(stored)
    for file in stored:
        ctx.note.saw(file.image_set, None, file.study_instance_uid, file.series_instance_uid)
    note_image_sets(ctx.stores, ctx.note, target.datastore_id, list(ctx.note.image_sets))


def _instance(
    number: int,
    file: InstanceStored | InstanceRefused,
    identify: Callable[[int], tuple[str | None, str | None]],
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
    sop_class_uid, sop_instance_uid = identify(number)
    return InstanceResult(number, sop_class_uid, sop_instance_uid, reason=file.reason, message=file.message)
