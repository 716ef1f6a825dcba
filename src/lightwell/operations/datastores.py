"""CreateDatastore, GetDatastore, ListDatastores, DeleteDatastore.

Sources: the service model, devguide/create-data-store, devguide/delete-data-store,
devguide/event-notifications. Creation and deletion are complete when the response is sent. The responses say
CREATING and DELETING as the service's do; clients that poll for ACTIVE find it at once.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from lightwell.domain import page_tokens
from lightwell.domain.arn import Resource, datastore_arn, parse_function
from lightwell.domain.datastore import MOST_TAGS, DataStore, check_deletable, default_name
from lightwell.domain.events import DatastoreEventType, datastore_event
from lightwell.domain.states import DatastoreStatus, StorageFormat
from lightwell.errors import NotFoundError, QuotaExceededError, UnavailableError, ValidationError
from lightwell.operations import client_tokens
from lightwell.operations.context import Context
from lightwell.sealing.providers.interface import (
    DataKey,
    KeyProviderAwayError,
    KeyProviderError,
    KeyPurpose,
)
from lightwell.stores.account import datastores, tags
from lightwell.stores.background import outbox
from lightwell.stores.keys import data_keys
from lightwell.wire import shapes

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger(__name__)

# devguide/endpoints-quotas: data stores per Region, deleted ones not counted.
_QUOTA = 100
# The model's greatest maxResults, and the default page size.
PAGE = 50


def create_datastore(ctx: Context, request: shapes.CreateDatastoreRequest) -> shapes.CreateDatastoreResponse:
    """Create a data store, or repeat the response if the client token was used for the same request before.

    The authorizer is not called, and need not be configured yet. With a ``kmsKeyArn`` what is stored in it is
    encrypted, unless the settings have no key provider: then the log says so, and `doctor`.

    Raises `ConflictError` for a token used with other parameters, `ValidationError` for more than 50 tags,
    for an authorizer of another account or Region and for a key that the key provider refuses,
    `QuotaExceededError`, where quotas are enforced, for more than 100 data stores.
    """
    _check_authorizer(ctx, request.lambda_authorizer_arn)
    wanted = request.tags or {}
    if len(wanted) > MOST_TAGS:
        raise ValidationError(f"A resource can have at most {MOST_TAGS} tags.")
    now, id = ctx.clock.now(), ctx.ids.id()
    store = DataStore(
        key=ctx.ids.key(),
        id=id,
        name=request.datastore_name or default_name(id),
        status=DatastoreStatus.ACTIVE,
        storage_format=StorageFormat(request.lossless_storage_format or StorageFormat.HTJ2K),
        kms_key_arn=request.kms_key_arn,
        lambda_authorizer_arn=request.lambda_authorizer_arn,
        created_at=now,
        updated_at=now,
    )
    event_ids = ctx.ids.id(), ctx.ids.id()
    key, key_id = _first_key(ctx, id, request.kms_key_arn), ctx.ids.key()
    # The token itself is the key; the hash covers everything else in the request.
    asked = msgspec.json.encode(msgspec.structs.replace(request, client_token="", tags=None), order="sorted")
    asked += msgspec.json.encode(wanted, order="sorted")

    def work(conn: Connection) -> str:
        request_hash = hashlib.sha256(asked).digest()
        known = client_tokens.claim(ctx, conn, "CreateDatastore", request.client_token, request_hash, id, now)
        if known is not None:
            return known
        if ctx.settings.quotas == "aws" and datastores.count(conn, _QUOTA) >= _QUOTA:
            raise QuotaExceededError(
                f"There are already {_QUOTA} data stores. Delete one that is no longer needed."
            )
        datastores.insert(conn, store)
        if key is not None:
            purpose = KeyPurpose(id, 1, store.kms_key_arn)
            ctx.stores.keys.add_key(conn, store.key, purpose, key, key_id, now)
        tags.put(conn, _resource(ctx, id), wanted)
        _append_event(ctx, conn, "Data Store Creating", event_ids[0], now, store, DatastoreStatus.CREATING)
        _append_event(ctx, conn, "Data Store Created", event_ids[1], now, store, DatastoreStatus.ACTIVE)
        return id

    answered = ctx.stores.db.write(work)
    ctx.note.store = answered
    if answered == id:
        ctx.note.changed(f"data store made: {id}")
        if store.lambda_authorizer_arn is not None:
            ctx.note.changed(f"authorizer of data store {id}", None, store.lambda_authorizer_arn)
    if answered == id and store.kms_key_arn is not None and key is None:
        log.warning(
            "nothing is encrypted with the kmsKeyArn of this data store",
            extra={"fields": {"datastore": id, "name": store.name, "kms_key_arn": store.kms_key_arn}},
        )
    if answered == id:
        _note_given(ctx, store, wanted)
    return shapes.CreateDatastoreResponse(datastore_id=answered, datastore_status=DatastoreStatus.CREATING)


def _note_given(ctx: Context, store: DataStore, wanted: Mapping[str, str]) -> None:
    ctx.note.changed(f"name of data store {store.id}", None, store.name)
    if store.kms_key_arn is not None:
        ctx.note.changed(f"kmsKeyArn of data store {store.id}", None, store.kms_key_arn)
    for key, value in wanted.items():
        ctx.note.tagged(key, None, value)


def get_datastore(ctx: Context, request: shapes.GetDatastoreRequest) -> shapes.GetDatastoreResponse:
    """The properties of a data store; deleted ones remain visible as DELETED."""
    with ctx.stores.db.read() as conn:
        store = datastores.get(conn, request.datastore_id)
    if store is None:
        raise _unknown_datastore(request.datastore_id)
    return shapes.GetDatastoreResponse(
        datastore_properties=shapes.DatastoreProperties(
            datastore_id=store.id,
            datastore_name=store.name,
            datastore_status=store.status,
            kms_key_arn=store.kms_key_arn,
            lambda_authorizer_arn=store.lambda_authorizer_arn,
            lossless_storage_format=store.storage_format,
            datastore_arn=_arn(ctx, store.id),
            created_at=store.created_at / 1000,
            updated_at=store.updated_at / 1000,
        )
    )


def list_datastores(ctx: Context, request: shapes.ListDatastoresRequest) -> shapes.ListDatastoresResponse:
    """The data stores, newest first, deleted ones included; in pages of ``maxResults``, by default 50."""
    after = page_tokens.after(request.next_token)
    limit = request.max_results or PAGE
    status = None if request.datastore_status is None else DatastoreStatus(request.datastore_status)
    with ctx.stores.db.read() as conn:
        found = datastores.page(conn, status=status, after=after, limit=limit + 1)
    shown = found[:limit]
    return shapes.ListDatastoresResponse(
        datastore_summaries=[
            shapes.DatastoreSummary(
                datastore_id=store.id,
                datastore_name=store.name,
                datastore_status=store.status,
                datastore_arn=_arn(ctx, store.id),
                created_at=store.created_at / 1000,
                updated_at=store.updated_at / 1000,
            )
            for store in shown
        ],
        next_token=page_tokens.encode([shown[-1].created_at, shown[-1].key]) if len(found) > limit else None,
    )


def delete_datastore(ctx: Context, request: shapes.DeleteDatastoreRequest) -> shapes.DeleteDatastoreResponse:
    """Delete an empty data store. Deleting a deleted one gives the same response again.

    Its keys are destroyed: what they have encrypted cannot be read again, wherever there is a copy of it.

    Raises `NotFoundError`, and `ConflictError` while the data store has image sets or running import jobs.
    """
    now = ctx.clock.now()
    event_ids = ctx.ids.id(), ctx.ids.id()

    def work(conn: Connection) -> bool:
        store = datastores.get(conn, request.datastore_id, lock=True)
        if store is None:
            raise _unknown_datastore(request.datastore_id)
        if store.status in (DatastoreStatus.DELETING, DatastoreStatus.DELETED):
            return False
        check_deletable(
            store.id,
            has_image_sets=datastores.has_image_sets(conn, store.key),
            has_running_jobs=datastores.has_running_jobs(conn, store.key),
        )
        datastores.set_status(conn, store.key, DatastoreStatus.DELETED, now)
        tags.drop(conn, _resource(ctx, store.id))
        data_keys.destroy(conn, store.key, now)
        _append_event(ctx, conn, "Data Store Deleting", event_ids[0], now, store, DatastoreStatus.DELETING)
        _append_event(ctx, conn, "Data Store Deleted", event_ids[1], now, store, DatastoreStatus.DELETED)
        return True

    if ctx.stores.db.write(work):
        ctx.note.changed(f"data store deleted: {request.datastore_id}")
    return shapes.DeleteDatastoreResponse(
        datastore_id=request.datastore_id, datastore_status=DatastoreStatus.DELETING
    )


def _first_key(ctx: Context, id: str, kms_key_arn: str | None) -> DataKey | None:
    try:
        return ctx.stores.keys.first_key(id, kms_key_arn)
    except KeyProviderAwayError as error:
        raise UnavailableError(f"No data store can be encrypted now: {error}") from error
    except KeyProviderError as error:
        raise ValidationError(f"The data store cannot be encrypted: {error}") from error


def _check_authorizer(ctx: Context, arn: str | None) -> None:
    function = None if arn is None else parse_function(arn)
    here = (ctx.settings.region, ctx.settings.account_id)
    if arn is not None and (function is None or (function.region, function.account) != here):
        raise ValidationError(
            f"The Lambda authorizer {arn} must be in the account and Region of the data store, "
            f"{here[1]} and {here[0]}."
        )


def _append_event(
    ctx: Context,
    conn: Connection,
    detail_type: DatastoreEventType,
    id: str,
    now: int,
    store: DataStore,
    status: DatastoreStatus,
) -> None:
    event = datastore_event(detail_type, ctx.event_header(id, now, store.id), name=store.name, status=status)
    outbox.append(conn, event)


def _arn(ctx: Context, datastore_id: str) -> str:
    return datastore_arn(ctx.settings.region, ctx.settings.account_id, datastore_id)


def _resource(ctx: Context, datastore_id: str) -> Resource:
    return Resource(ctx.settings.region, ctx.settings.account_id, datastore_id, None)


def _unknown_datastore(datastore_id: str) -> NotFoundError:
    return NotFoundError(f"Datastore {datastore_id} does not exist.")
