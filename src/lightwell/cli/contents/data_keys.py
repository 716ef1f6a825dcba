"""``lightwell data keys list|rotate|rewrap``: the keys that encrypt data stores."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from lightwell.cli import command_trail, flags
from lightwell.cli.wording import counted, moment, print_table
from lightwell.errors import LightwellError

if TYPE_CHECKING:
    from lightwell.stores import Stores

_PLACES = (*flags.PLACES, "encryption_key_file", "key_provider")


def add(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(dest="step", metavar="STEP", required=True)
    listing = steps.add_parser(
        "list", help="the keys of data stores, and what they are encrypted under", allow_abbrev=False
    )
    rotate = steps.add_parser(
        "rotate",
        help="give a data store another key for what is stored from now on; what there is stays readable",
        allow_abbrev=False,
    )
    rotate.add_argument("datastore", metavar="DATASTORE", help="name or ID of the data store")
    rewrap = steps.add_parser(
        "rewrap",
        help="encrypt the keys of all data stores under the newest key of the file, or of the key_provider",
        allow_abbrev=False,
    )
    for step in (listing, rotate, rewrap):
        step.add_argument("--json", action="store_true", help="print one JSON value")
        flags.add(step, _PLACES)


def run(args: argparse.Namespace) -> int:
    from lightwell.cli.store_session import store_session

    steps = {"list": _list, "rotate": _rotate, "rewrap": _rewrap}
    with store_session(flags.settings(args)) as stores:
        return steps[args.step](stores, args)


def _list(stores: Stores, args: argparse.Namespace) -> int:
    from lightwell.stores.keys import data_keys

    with stores.db.read() as conn:
        listed = data_keys.listed(conn)
    if args.json:
        found = [
            {
                "datastoreId": key.datastore,
                "datastoreName": key.name,
                "number": key.number,
                "provider": key.provider,
                "wrappedUnder": key.keeper,
                "createdAt": moment(key.created_at),
                "packs": key.packs,
            }
            for key in listed
        ]
        print(json.dumps(found, indent=2))
        return 0
    print_table(
        ("DATA STORE", "NUMBER", "CREATED", "PACKS", "PROVIDER", "WRAPPED UNDER", "NAME"),
        [
            (key.datastore, key.number, moment(key.created_at), key.packs, key.provider, key.keeper, key.name)
            for key in listed
        ],
        nothing="No data store is encrypted",
    )
    return 0


def _rotate(stores: Stores, args: argparse.Namespace) -> int:
    from lightwell.cli.contents.named_store import existing_in
    from lightwell.clock import Clock, Ids
    from lightwell.stores.keys import data_keys, renewal

    store = existing_in(stores.db, args.datastore)
    with stores.db.read() as conn:
        newest = data_keys.newest(conn, store.key)
    number = renewal.rotate(stores.db, stores.keys, store.key, Ids().key, Clock().now())
    before = None if newest is None else f"key {newest.purpose.number}"
    command_trail.changed(f"newest key of data store {store.id}", before, f"key {number}")
    if args.json:
        print(json.dumps({"datastoreId": store.id, "number": number}))
    else:
        print(f"{store.name} ({store.id}): what is stored from now on is encrypted under its key {number}")
    return 0


def _rewrap(stores: Stores, args: argparse.Namespace) -> int:
    from lightwell.stores.keys import renewal

    report = renewal.rewrap(stores.db, stores.keys)
    command_trail.changed(f"keys of data stores wrapped anew: {report.done}")
    if args.json:
        print(
            json.dumps(
                {"rewrapped": report.done, "already": report.already, "refused": report.refused}, indent=2
            )
        )
    else:
        print(f"wrapped {counted(report.done, 'key')} anew; {report.already:,} were so already")
    if report.refused:
        raise LightwellError(
            f"The keys of {counted(len(report.refused), 'data store')} stay as they are: "
            + "; ".join(f"{id}: {reason}" for id, reason in list(report.refused.items())[:5])
        )
    return 0
