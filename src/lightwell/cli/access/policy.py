"""``lightwell policy explain``: which statement decides about a request, and why."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from lightwell.cli import flags
from lightwell.errors import ConfigurationError, LightwellError

if TYPE_CHECKING:
    from lightwell.auth.policies.condition_keys import Value
    from lightwell.auth.policies.explain import Explanation
    from lightwell.auth.principals import Identity
    from lightwell.settings import Settings
    from lightwell.stores.db.database import Database

_PLACES = ("data", "database_url", "allow_other_user", "region", "account_id")


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    explain = actions.add_parser(
        "explain", help="show which statement allows or denies an action, and why", allow_abbrev=False
    )
    who = explain.add_mutually_exclusive_group(required=True)
    who.add_argument("--key", metavar="ID", help="access key that would sign the request")
    who.add_argument("--role", metavar="NAME", help="role that would be assumed")
    explain.add_argument(
        "--action",
        dest="asked",
        metavar="A",
        required=True,
        help="action, such as medical-imaging:GetImageSet",
    )
    explain.add_argument("--resource", metavar="ARN", required=True, help="ARN of the resource, or *")
    explain.add_argument(
        "--context",
        metavar="K=V",
        nargs="+",
        action="extend",
        default=[],
        help="condition keys of the request, such as aws:SourceIp=10.0.0.1; repeat a key for several values",
    )
    explain.add_argument("--json", action="store_true", help="print one JSON object")
    flags.add(explain, _PLACES)


def run(args: argparse.Namespace) -> int:
    from lightwell.auth.policies.asked import known_action
    from lightwell.auth.policies.explain import explain
    from lightwell.cli.store_session import database_session

    settings = flags.settings(args)
    action = known_action(args.asked)
    context = _context(args.context)
    with database_session(settings) as db:
        who, permissions = _of_key(settings, db, args.key) if args.key else _of_role(settings, db, args.role)
        context = {**_time(), **_tags(settings, db, args.resource), **context}
    found = None if permissions is None else explain(permissions, action, args.resource, context)
    if args.json:
        print(json.dumps(_object(who, action, args.resource, found), indent=2))
    else:
        _print(who, action, args.resource, found)
    return 0


def _print(who: str, action: str, resource: str, found: Explanation | None) -> None:
    if found is None:
        print(f"ALLOWED  {action} on {resource} for {who}")
        print("the key has no policy and may do everything")
        return
    print(f"{'ALLOWED' if found.allowed else 'DENIED '}  {action} on {resource} for {who}")
    print(found.reason)
    for each in found.statements:
        print(f"  {each.title}: {each.effect} {'applies' if each.applies else 'does not apply'}: {each.why}")


def _object(who: str, action: str, resource: str, found: Explanation | None) -> dict[str, Any]:
    shown: dict[str, Any] = {"principal": who, "action": action, "resource": resource}
    if found is None:
        return {
            **shown,
            "allowed": True,
            "reason": "the key has no policy",
            "deciding": None,
            "statements": [],
        }
    return {
        **shown,
        "allowed": found.allowed,
        "reason": found.reason,
        "deciding": found.deciding,
        "statements": [
            {"statement": each.title, "effect": each.effect, "applies": each.applies, "why": each.why}
            for each in found.statements
        ],
    }


def _context(pairs: list[str]) -> dict[str, Value]:
    from lightwell.auth.policies.asked import condition_keys

    for pair in pairs:
        if "=" not in pair:
            raise ConfigurationError(f"--context expects KEY=VALUE, not {pair!r}")
    return condition_keys((key, value) for key, _, value in (pair.partition("=") for pair in pairs))


def _time() -> dict[str, str]:
    from lightwell.auth.policies.condition_keys import time_context
    from lightwell.clock import Clock

    return time_context(Clock().now())


def _tags(settings: Settings, db: Database, resource: str) -> dict[str, Value]:
    """The tags that the resource has now, as condition keys."""
    from lightwell.auth.policies.condition_keys import RESOURCE_TAG, tag_context
    from lightwell.domain import arn
    from lightwell.stores.account import tags

    found = arn.parse(resource)
    if found is None or (found.region, found.account) != (settings.region, settings.account_id):
        return {}
    with db.read() as conn:
        return tag_context(RESOURCE_TAG, tags.get(conn, found))


def _of_key(settings: Settings, db: Database, id: str) -> Identity:
    from lightwell.auth.principals import identity_of_key

    found = identity_of_key(db, id, settings.account_id, settings.region)
    if found is None:
        raise LightwellError(f"There is no valid access key {id}; `lightwell key list` shows the valid keys")
    return found


def _of_role(settings: Settings, db: Database, name: str) -> Identity:
    from lightwell.auth.principals import Identity
    from lightwell.auth.roles import Roles
    from lightwell.clock import Clock

    now = Clock().now()
    roles = Roles(db, settings.account_id, settings.region)
    role = roles.get(name, now)
    if role is None:
        raise LightwellError(f"There is no role {name}; `lightwell role list` shows the roles")
    session = roles.session(role, "explained", now)
    return Identity(session.arn, session.policies)
