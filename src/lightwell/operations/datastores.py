"""CreateDatastore, GetDatastore, ListDatastores, DeleteDatastore.

Sources: the service model, devguide/create-data-store, devguide/delete-data-store,
devguide/event-notifications. Creation and deletion are complete when they are answered; the answers say
CREATING and DELETING as the service's do, and clients that poll for ACTIVE find it at once.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

import msgspec

from lightwell.domain import page_tokens
from lightwell.domain.arn import Resource, datastore_arn, parse_function
from lightwell.domain.datastore import (
    ACTIVE,
    CREATING,
    DELETED,
    DELETING,
    HTJ2K,
    MOST_TAGS,
    DataStore,
    check_deletable,
    default_name,
)
from lightwell.domain.events import datastore_event
from lightwell.errors import NotFoundError, QuotaExceededError, ValidationError
from lightwell.operations import client_tokens
from lightwell.operations.context import Context
from lightwell.stores.account import datastores, tags
from lightwell.stores.background import outbox
from lightwell.wire import shapes

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger(__name__)

# devguide/endpoints-quotas: data stores of a Region that are not deleted.
_QUOTA = 100
# The model's greatest maxResults, and what a page holds where the client does not say.
PAGE = 50


def create_datastore(ctx: Context, request: shapes.CreateDatastoreRequest) -> shapes.CreateDatastoreResponse:
    """Make a data store, or answer as before if the client token was used for the same request.

    The authorizer is not called, and nothing need stand for it yet. Raises `ConflictError` for a token used
    with other parameters, `ValidationError` for more than 50 tags and for an authorizer of another account or
    Region, `QuotaExceededError` for one more than 100 data stores where quotas are on. A ``kmsKeyArn`` is
    kept, since unmodified applications send it, but no key service is asked: the log and `doctor` say so.
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
        status=ACTIVE,
        storage_format=request.lossless_storage_format or HTJ2K,
        kms_key_arn=request.kms_key_arn,
        lambda_authorizer_arn=request.lambda_authorizer_arn,
        created_at=now,
        updated_at=now,
    )
    event_ids = ctx.ids.id(), ctx.ids.id()
    # The token itself is the key it is kept under; everything else makes the request.
    asked = msgspec.json.encode(msgspec.structs.replace(request, client_token="", tags=None), order="sorted")
    asked += msgspec.json.encode(wanted, order="sorted")

    def work(conn: Connection) -> str:
        request_hash = hashlib.sha256(asked).digest()
        known = client_tokens.claim(ctx, conn, "CreateDatastore", request.client_token, request_hash, id, now)
        if known is not None:
            return known
        if ctx.settings.quotas == "aws" and datastores.count(conn, _QUOTA) >= _QUOTA:
            raise QuotaExceededError(
                f"There are {_QUOTA} data stores already. Delete one that is not needed."
            )
        datastores.insert(conn, store)
        tags.put(conn, _resource(ctx, id), wanted)
        _tell(ctx, conn, "Data Store Creating", event_ids[0], now, store, CREATING)
        _tell(ctx, conn, "Data Store Created", event_ids[1], now, store, ACTIVE)
        return id

    answered = ctx.stores.db.write(work)
    if answered == id and store.kms_key_arn is not None:
        log.warning(
            "nothing is encrypted with the kmsKeyArn of this data store",
            extra={"fields": {"datastore": id, "name": store.name, "kms_key_arn": store.kms_key_arn}},
        )
    return shapes.CreateDatastoreResponse(datastore_id=answered, datastore_status=CREATING)


def get_datastore(ctx: Context, request: shapes.GetDatastoreRequest) -> shapes.GetDatastoreResponse:
    """The properties of a data store; deleted ones stay visible as DELETED."""
    with ctx.stores.db.read() as conn:
        store = datastores.get(conn, request.datastore_id)
    if store is None:
        raise _missing(request.datastore_id)
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
    """The data stores, newest first, deleted ones too; in pages of ``maxResults``, 50 if left out."""
    after = page_tokens.after(request.next_token)
    limit = request.max_results or PAGE
    with ctx.stores.db.read() as conn:
        found = datastores.page(conn, status=request.datastore_status, after=after, limit=limit + 1)
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
    """Delete an empty data store. Deleting one that is deleted answers the same again.

    Raises `NotFoundError`, and `ConflictError` while it has image sets or running import jobs.
    """
    now = ctx.clock.now()
    event_ids = ctx.ids.id(), ctx.ids.id()

    def work(conn: Connection) -> None:
        store = datastores.get(conn, request.datastore_id, lock=True)
        if store is None:
            raise _missing(request.datastore_id)
        if store.status in (DELETING, DELETED):
            return
        check_deletable(
            store.id,
            has_image_sets=datastores.has_image_sets(conn, store.key),
            has_running_jobs=datastores.has_running_jobs(conn, store.key),
        )
        datastores.set_status(conn, store.key, DELETED, now)
        tags.drop(conn, _resource(ctx, store.id))
        _tell(ctx, conn, "Data Store Deleting", event_ids[0], now, store, DELETING)
        _tell(ctx, conn, "Data Store Deleted", event_ids[1], now, store, DELETED)

    ctx.stores.db.write(work)
    return shapes.DeleteDatastoreResponse(datastore_id=request.datastore_id, datastore_status=DELETING)


def _check_authorizer(ctx: Context, arn: str | None) -> None:
    function = None if arn is None else parse_function(arn)
    here = (ctx.settings.region, ctx.settings.account_id)
    if arn is not None and (function is None or (function.region, function.account) != here):
        raise ValidationError(
            f"The Lambda authorizer {arn} must be in the account and Region of the data store, "
            f"{here[1]} and {here[0]}."
        )


def _tell(
    ctx: Context, conn: Connection, detail_type: str, id: str, now: int, store: DataStore, status: str
) -> None:
    settings = ctx.settings
    event = datastore_event(
        detail_type,
        id=id,
        now=now,
        region=settings.region,
        account=settings.account_id,
        datastore=store,
        status=status,
    )
    outbox.append(conn, event)


def _arn(ctx: Context, datastore_id: str) -> str:
    return datastore_arn(ctx.settings.region, ctx.settings.account_id, datastore_id)


def _resource(ctx: Context, datastore_id: str) -> Resource:
    return Resource(ctx.settings.region, ctx.settings.account_id, datastore_id, None)


def _missing(datastore_id: str) -> NotFoundError:
    return NotFoundError(f"Datastore {datastore_id} does not exist.")
