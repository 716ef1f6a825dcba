"""``lightwell datastore list|create|delete|usage|set-authorizer``, with the server up or down."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

from lightwell.cli import flags
from lightwell.cli.authorizer_arn import HELP, METAVAR, NONE, authorizer_arn
from lightwell.cli.contents import named_store
from lightwell.cli.store_session import local_context, store_session
from lightwell.cli.wording import duration, moment, print_array, print_table, size
from lightwell.domain.states import DatastoreStatus
from lightwell.errors import ConflictError, LightwellError

if TYPE_CHECKING:
    from lightwell.domain.datastore import DataStore
    from lightwell.operations.context import Context
    from lightwell.stores.account.usage import Usage

_USAGE_SECONDS = 30.0


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list the data stores, newest first", allow_abbrev=False)
    listing.add_argument("--deleted", action="store_true", help="list deleted ones, too")
    create = actions.add_parser("create", help="create a data store and print its ID", allow_abbrev=False)
    create.add_argument("name", metavar="NAME", help="name: letters, digits and ._/#-")
    create.add_argument("--authorizer", metavar=METAVAR, help=f"{HELP} [default: none]")
    delete = actions.add_parser("delete", help="delete an empty data store", allow_abbrev=False)
    delete.add_argument("store", metavar="NAME", help="name or ID of the data store")
    usage = actions.add_parser(
        "usage", help="count what each data store holds, and the bytes it takes", allow_abbrev=False
    )
    usage.add_argument("store", metavar="NAME", nargs="?", help="name or ID of a data store [default: all]")
    authorize = actions.add_parser(
        "set-authorizer",
        help="change what decides about bearer tokens; withdraws those of `lightwell token` within seconds",
        allow_abbrev=False,
    )
    authorize.add_argument("store", metavar="NAME", help="name or ID of the data store")
    authorize.add_argument("authorizer", metavar=METAVAR, help=HELP)
    for action in (listing, create, delete, usage, authorize):
        what = "a JSON array" if action in (listing, usage) else "one JSON object"
        action.add_argument("--json", action="store_true", help=f"print {what}")
        flags.add(action, flags.PLACES)


def run(args: argparse.Namespace) -> int:
    settings = flags.settings(args)
    # Like an import, the first `create` may be what makes the data folder.
    with store_session(settings, create=args.action == "create") as stores:
        ctx = local_context(settings, stores)
        if args.action == "list":
            return _list(ctx, with_deleted=args.deleted, as_json=args.json)
        if args.action == "create":
            authorizer = authorizer_arn(settings, args.authorizer or NONE)
            return _create(ctx, args.name, authorizer, as_json=args.json)
        if args.action == "delete":
            return _delete(ctx, args.store, as_json=args.json)
        if args.action == "set-authorizer":
            authorizer = authorizer_arn(settings, args.authorizer)
            return _set_authorizer(ctx, args.store, authorizer, as_json=args.json)
        return _usage(ctx, args.store, as_json=args.json)


def _list(ctx: Context, *, with_deleted: bool, as_json: bool) -> int:
    found = named_store.each_store(ctx, None if with_deleted else DatastoreStatus.ACTIVE)
    if as_json:
        print_array(_as_json(store) for store in found)
        return 0
    print_table(
        ("ID", "NAME", "STATUS", "CREATED", "AUTHORIZER"),
        (
            (store.id, store.name, store.status, moment(store.created_at), store.lambda_authorizer_arn)
            for store in found
        ),
        nothing="There are no data stores; `lightwell datastore create NAME` makes one",
    )
    return 0


def _as_json(store: DataStore) -> dict[str, object]:
    return {
        "datastoreId": store.id,
        "datastoreName": store.name,
        "datastoreStatus": store.status,
        "losslessStorageFormat": store.storage_format,
        "lambdaAuthorizerArn": store.lambda_authorizer_arn,
        "kmsKeyArn": store.kms_key_arn,
        "createdAt": moment(store.created_at),
        "updatedAt": moment(store.updated_at),
    }


def _create(ctx: Context, name: str, authorizer: str | None, *, as_json: bool) -> int:
    from lightwell.stores.account import datastores

    with ctx.stores.db.read() as conn:
        others = datastores.find_by_name(conn, name)
    if others:
        # AWS allows it, but from then on no command could name either of them.
        raise LightwellError(
            f"There is already a data store {name} ({others[0].id}); choose another "
            "name, or delete that one first"
        )
    store = named_store.create(ctx, name, authorizer=authorizer)
    print(json.dumps(_as_json(store), indent=2) if as_json else store.id)
    return 0


def _set_authorizer(ctx: Context, name_or_id: str, arn: str | None, *, as_json: bool) -> int:
    from lightwell.operations.authorizers import set_authorizer

    store = named_store.existing(ctx, name_or_id)
    before = set_authorizer(ctx.stores.db, store.id, arn, ctx.clock.now())
    ctx.note.changed(f"authorizer of data store {store.id}", before, arn)
    if as_json:
        print(json.dumps(_as_json(named_store.existing(ctx, store.id)), indent=2))
    else:
        has = f"has the authorizer {arn}" if arn else "accepts no tokens"
        print(f"data store {store.name} ({store.id}) {has}")
    return 0


def _delete(ctx: Context, name_or_id: str, *, as_json: bool) -> int:
    from lightwell.operations.datastores import delete_datastore
    from lightwell.wire.shapes import DeleteDatastoreRequest

    store = named_store.existing(ctx, name_or_id)
    try:
        delete_datastore(ctx, DeleteDatastoreRequest(datastore_id=store.id))
    except ConflictError as error:
        raise LightwellError(_why_not(ctx, store)) from error
    if as_json:
        print(json.dumps({"datastoreId": store.id, "datastoreStatus": DatastoreStatus.DELETED}))
    else:
        print(f"data store {store.name} ({store.id}) deleted")
    return 0


def _why_not(ctx: Context, store: DataStore) -> str:
    from lightwell.stores.account import datastores

    with ctx.stores.db.read() as conn:
        has_running_jobs = datastores.has_running_jobs(conn, store.key)
    if has_running_jobs:
        return (
            f"Import jobs of data store {store.name} are running: wait for them, or cancel them "
            f"(`lightwell jobs list --datastore {store.id}`, `lightwell jobs cancel ID`)"
        )
    return (
        f"Data store {store.name} is not empty: delete its image sets first "
        f"(`lightwell sets list --datastore {store.id}` shows them, `lightwell sets delete --datastore "
        f"{store.id} --all` deletes all of them, after a question)"
    )


def _usage(ctx: Context, name_or_id: str | None, *, as_json: bool) -> int:
    from lightwell.stores.account.usage import Usage, database_bytes, usage

    stores = named_store.chosen(ctx, name_or_id)
    end = time.monotonic() + _USAGE_SECONDS
    counts = usage(ctx.stores.db, lambda: time.monotonic() > end)
    found = [(store, counts.get(store.key, Usage())) for store in stores]
    if as_json:
        print_array(_usage_json(store, used) for store, used in found)
        return 0
    print_table(
        ("DATA STORE", "IMAGE SETS", "STUDIES", "INSTANCES", "FRAMES", "STORED", "OF WHICH ORIGINALS"),
        (
            (
                store.name,
                used.image_sets,
                used.studies,
                used.instances,
                used.frames,
                size(used.pack_bytes),
                size(used.original_bytes),
            )
            for store, used in found
        ),
        nothing="There are no data stores; `lightwell datastore create NAME` makes one",
    )
    if not found:
        return 0
    print()
    print(f"database   {size(database_bytes(ctx.stores.db))} for all data stores, in {ctx.stores.db.address}")
    cached = ctx.stores.documents.size()
    print(f"documents  {size(cached)} cached, in {ctx.stores.documents.root}; they can be made again")
    if any(used.is_estimated for _, used in found):
        print(f"The counts are estimates: counting everything takes more than {duration(_USAGE_SECONDS)}")
    return 0


def _usage_json(store: DataStore, used: Usage) -> dict[str, object]:
    return {
        "datastoreId": store.id,
        "datastoreName": store.name,
        "imageSets": used.image_sets,
        "studies": used.studies,
        "instances": used.instances,
        "frames": used.frames,
        "packBytes": used.pack_bytes,
        "originalBytes": used.original_bytes,
        "isEstimated": used.is_estimated,
    }
