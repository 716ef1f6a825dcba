"""``lightwell token``: a bearer token with which a viewer reaches one data store over DICOMweb."""

from __future__ import annotations

import argparse
import json
import os
import re
from typing import TYPE_CHECKING

from lightwell.cli import flags
from lightwell.errors import ConfigurationError, LightwellError

if TYPE_CHECKING:
    from lightwell.domain.datastore import DataStore
    from lightwell.settings import Settings
    from lightwell.stores.db.database import Database

_PLACES = (
    "data", "database_url", "allow_other_user", "region", "account_id",
    "host", "port", "tls_cert", "tls_key", "public_url",
)  # fmt: skip
_TTL = re.compile(r"([0-9]{1,6})([smh])")
_UNITS = {"s": 1, "m": 60, "h": 3600}


def add(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print a bearer token for DICOMweb requests to one data store, whose authorizer must be `builtin`. "
        "Whoever has it can read the data store until it expires, or until `lightwell datastore "
        "set-authorizer` is run for the data store again, which withdraws all its tokens."
    )
    parser.add_argument("--datastore", default="default", help="name or ID of the data store")
    parser.add_argument(
        "--ttl", default="8h", metavar="TIME", help="how long it is valid, such as 30m or 8h; at most 12h"
    )
    parser.add_argument(
        "--store",
        action="store_true",
        help="let its bearer store instances, too: uploads, measurements, segmentations",
    )
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument(
        "--link", action="store_true", help="print a link that opens OHIF, which `serve --ohif` serves"
    )
    shape.add_argument(
        "--json", action="store_true", help="print one JSON object with token, link and expiry"
    )
    flags.add(parser, _PLACES)


def run(args: argparse.Namespace) -> int:
    from lightwell.cli.contents.named_store import existing_in
    from lightwell.cli.store_session import database_session
    from lightwell.clock import Clock

    settings, seconds = flags.settings(args), read_ttl(args.ttl)
    with database_session(settings) as db:
        store = existing_in(db, args.datastore)
        now = Clock().now()
        token = mint(settings, db, store, seconds=seconds, may_store=args.store, now=now)
    if args.json:
        expires = (now // 1000) + seconds
        print(json.dumps({"token": token, "link": link(settings, token), "expiresAt": expires}, indent=2))
    else:
        print(link(settings, token) if args.link else token)
    return 0


def mint(
    settings: Settings, db: Database, store: DataStore, *, seconds: int, may_store: bool, now: int
) -> str:
    """A token for a data store. Raises `LightwellError` if its authorizer would not accept one."""
    from lightwell.auth.builtin_authorizer import BuiltinAuthorizer, TokenRequest
    from lightwell.auth.principals import ensure_secret_box
    from lightwell.cli import command_trail
    from lightwell.cli.authorizer_arn import is_builtin
    from lightwell.cli.store_session import user_name
    from lightwell.stores.account import authorizers

    arn = store.lambda_authorizer_arn
    if not is_builtin(settings, arn):
        has = "has no authorizer" if arn is None else f"has the authorizer {arn}"
        raise LightwellError(
            f"Data store {store.name} {has}, so it does not accept tokens made here: to change that, run "
            f"`lightwell datastore set-authorizer {store.name} builtin`"
        )
    with db.read() as conn:
        if arn is not None and authorizers.get(conn, arn) is not None:
            raise LightwellError(
                f"Another authorizer stands in for {arn}: remove it with `lightwell authorizer delete {arn}`"
            )
    secret_box = ensure_secret_box(db, settings.read_secret_key(), settings.data)
    may = "read and store" if may_store else "read"
    command_trail.changed(f"token for data store {store.id}", None, f"{may} for {seconds} s")
    request = TokenRequest(
        store.id, store.updated_at, user_name(os.geteuid()), seconds, may_store=may_store, now=now
    )
    return BuiltinAuthorizer(secret_box, settings.region, settings.account_id).mint(request)


def link(settings: Settings, token: str) -> str:
    """What opens OHIF on the server of the data folder, or on one that the settings describe."""
    from lightwell.cli import running_server

    found = None if settings.public_url else running_server.find(settings)
    return viewer_link(
        settings.public_url or (found and found.url) or running_server.local_url(settings), token
    )


def viewer_link(url: str, token: str) -> str:
    """The address that opens OHIF with the token.

    The token is in the fragment, which browsers do not send, so that no server or proxy logs it.
    """
    return f"{url.rstrip('/')}/ohif/#token={token}"


def read_ttl(text: str) -> int:
    """Seconds in a time such as ``30m`` or ``8h``. Raises `ConfigurationError`."""
    match = _TTL.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"--ttl must be a number of hours, minutes or seconds, such as 8h: {text!r}")
    return int(match[1]) * _UNITS[match[2]]
