"""What somebody who looks after keys and roles should look at: what is unused, unlimited or beyond reach.

A finding is no fault: a key of an administrator may be meant. It says what there is, and what could be done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lightwell.auth.policies.actions import (
    ATTACH_USER_POLICY,
    KNOWN,
    PREFIX,
    PUT_ROLE_POLICY,
    PUT_TRUST_POLICY,
    PUT_USER_POLICY,
    SERVICE,
)
from lightwell.auth.policies.policy import Statement, compile_policy
from lightwell.auth.policies.trust import ASSUME_ROLE, ASSUME_ROLE_WITH_WEB_IDENTITY, compile_trust_policy
from lightwell.domain import arn as arns

if TYPE_CHECKING:
    from lightwell.auth.policies.trust import TrustStatement
    from lightwell.stores.account.principals import AccessKey
    from lightwell.stores.account.roles import Role

Kind = Literal[
    "unused-key",
    "admin-key",
    "emergency-key",
    "endless-key",
    "allows-everything",
    "gives-rights",
    "untakeable-role",
]
"""*unused-key*: not used for so many days. *admin-key*: no policy limits it. *emergency-key*: a
session for an emergency has made it. *endless-key*: it never expires.
*allows-everything*: a statement allows every action on all that is stored, without a condition.
*gives-rights*: one lets its owner give any right to anybody. *untakeable-role*: nobody can take it.
"""

_DAY_MS = 86_400_000
# No name or id is like these: what covers them covers all.
_ANY_ID, _ANY_NAME = "q0x9" * 8, "q0x9-any-name"


@dataclass(frozen=True, slots=True)
class Finding:
    """``subject`` is the ID of a key, or the name of a role; ``name`` the user of the key, or the role's."""

    kind: Kind
    subject: str
    name: str
    says: str


@dataclass(frozen=True, slots=True)
class Place:
    """Whose keys and roles they are; ``issuer`` is the URL of the OpenID provider, if one is known."""

    account: str
    region: str
    issuer: str | None


def review(
    keys: Sequence[AccessKey], roles: Sequence[Role], now: int, place: Place, *, unused_days: int = 90
) -> list[Finding]:
    """Look through the keys that are not revoked, without sessions, and the roles; ``now`` in milliseconds.

    Keys that are over or disabled are only told to be removed, once they are unused for long; root's key may
    do everything and never ends, which is no finding.
    """
    found = [finding for key in keys for finding in _of_key(key, now, place, unused_days)]
    reachable = _reachable(keys, roles, now, place)
    for role in roles:
        owner = f"`lightwell role put {role.name}` replaces its policies"
        found += _of_policies(role.policies, role.name, role.name, place, owner)
        if role.name not in reachable:
            says = "nobody whom its trust policy names exists here: `lightwell role delete` removes it"
            found.append(Finding("untakeable-role", role.name, role.name, says))
    return found


def _of_key(key: AccessKey, now: int, place: Place, unused_days: int) -> Iterator[Finding]:
    if key.is_root:
        return
    is_good = _is_good(key, now)
    last = key.created_at if key.last_used_at is None else key.last_used_at
    if now - last >= unused_days * _DAY_MS:
        days = (now - last) // _DAY_MS
        when = (
            f"was last used {days} days ago"
            if key.last_used_at is not None
            else (f"was made {days} days ago, and no use of it is known")
        )
        remedy = (
            f"`lightwell key disable {key.id}` tries whether anybody needs it"
            if is_good
            else "it is of no use any more"
        )
        yield Finding(
            "unused-key", key.id, key.name, f"{when}: {remedy}, `lightwell key revoke {key.id}` ends it"
        )
    if not is_good:
        return
    if key.emergency:
        says = (
            "it was made in an emergency, and each use of it is flagged as that: `lightwell key revoke "
            f"{key.id}` ends it, `lightwell key create` makes one that is not"
        )
        yield Finding("emergency-key", key.id, key.name, says)
    if key.policies is None:
        says = f"it may do everything: `lightwell key put-policy {key.id} --policy FILE` limits it"
        yield Finding("admin-key", key.id, key.name, says)
    else:
        owner = f"`lightwell key put-policy {key.id}` replaces its policies"
        yield from _of_policies(key.policies, key.id, key.name, place, owner)
    if key.expires_at is None:
        says = f"it never expires: `lightwell key rotate {key.id} --expires 90d` makes a successor that does"
        yield Finding("endless-key", key.id, key.name, says)


def _of_policies(
    policies: Sequence[str], subject: str, name: str, place: Place, remedy: str
) -> Iterator[Finding]:
    for number, text in enumerate(policies, 1):
        for statement in compile_policy(text, f"policy {number}"):
            if not statement.allows or statement.why is not None or statement.conditions:
                continue
            if _allows_everything(statement, place):
                says = f"{statement.title} allows every action on everything: {remedy}"
                yield Finding("allows-everything", subject, name, says)
            elif _gives_rights(statement, place):
                says = f"{statement.title} lets it give any right to anybody, itself too: {remedy}"
                yield Finding("gives-rights", subject, name, says)


def _allows_everything(statement: Statement, place: Place) -> bool:
    datastore = arns.datastore_arn(place.region, place.account, _ANY_ID)
    resources = ("*", datastore, f"{datastore}/imageset/{_ANY_ID}")
    actions = (action for action in KNOWN if action.startswith(PREFIX))
    return all(map(statement.covers_action, actions)) and _covers(statement, *resources)


def _gives_rights(statement: Statement, place: Place) -> bool:
    user, role = arns.user_arn(place.account, _ANY_NAME), arns.role_arn(place.account, _ANY_NAME)
    gives = (
        (PUT_USER_POLICY, user),
        (ATTACH_USER_POLICY, user),
        (PUT_ROLE_POLICY, role),
        (PUT_TRUST_POLICY, role),
    )
    return any(statement.covers_action(action) and _covers(statement, resource) for action, resource in gives)


def _covers(statement: Statement, *resources: str) -> bool:
    return all(statement.covers_resource(resource, {}) is True for resource in resources)


def _is_good(key: AccessKey, now: int) -> bool:
    return key.disabled_at is None and (key.expires_at is None or key.expires_at > now)


def _reachable(keys: Sequence[AccessKey], roles: Sequence[Role], now: int, place: Place) -> set[str]:
    """The roles that somebody could take, as far as their trust policies say, conditions aside."""
    account = place.account
    takers = {("AWS", each): ASSUME_ROLE for each in ("*", account, arns.root_arn(account))} | {
        ("AWS", arns.user_arn(account, key.name)): ASSUME_ROLE
        for key in keys
        if not key.is_root and _is_good(key, now)
    }
    regional = SERVICE.replace(".amazonaws.com", f".{place.region}.amazonaws.com")
    takers |= {("Service", name): ASSUME_ROLE for name in (SERVICE, regional)}
    if place.issuer is not None:
        provider = arns.oidc_provider_arn(account, place.issuer)
        takers[("Federated", provider)] = ASSUME_ROLE_WITH_WEB_IDENTITY
    reachable: set[str] = set()
    # A role may be taken by a session of another that can be taken.
    while True:
        new = {
            role.name
            for role in roles
            if role.name not in reachable
            and any(
                _lets_in(each, takers, reachable, place) for each in compile_trust_policy(role.trust_policy)
            )
        }
        if not new:
            return reachable
        reachable |= new


def _lets_in(
    statement: TrustStatement, takers: dict[tuple[str, str], str], reachable: set[str], place: Place
) -> bool:
    if not statement.allows or not statement.understood:
        return False
    for kind, name in statement.principals:
        action = takers.get((kind, name))
        if action is None and kind == "AWS" and _role_of(name, place.account) in reachable:
            action = ASSUME_ROLE
        if action is not None:
            named = any(template.match(action, {}) is True for template in statement.actions)
            if named is not statement.not_actions:
                return True
    return False


def _role_of(name: str, account: str) -> str | None:
    """The role that an ARN names, or that a session of that ARN is of."""
    for prefix in (arns.role_arn(account, ""), arns.session_arn(account, "")):
        if name.startswith(prefix):
            return name.removeprefix(prefix).partition("/")[0]
    return None
