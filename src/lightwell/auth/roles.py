"""Roles: who may assume one, and the principal that assuming it makes.

Sources: IAM User Guide, "IAM roles", "AWS JSON policy elements: Principal"; `policies.trust` evaluates the
trust policy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lightwell.auth.policies.condition_keys import claim_context
from lightwell.auth.policies.policy import permissions, rights
from lightwell.auth.policies.trust import AssumingPrincipal, TrustDecision, decide
from lightwell.auth.principal_context import session_context
from lightwell.auth.principals import Principal, principal_context
from lightwell.domain import arn as arns
from lightwell.domain.recent import Recent
from lightwell.errors import ConfigurationError, LightwellError
from lightwell.stores.account import roles as table
from lightwell.stores.account.roles import Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lightwell.auth.policies.condition_keys import Context, Value
    from lightwell.stores.db.database import Database

NO_REASON = (
    "{arn} is for emergencies, and each use of it is reviewed: say why you take it, by the session tag "
    "reason (aws sts assume-role --tags Key=reason,Value=...) or by a session name that begins with reason=. "
    "Name no patient in it."
)
_MOST_KNOWN = 1_024
# Only one spelling is accepted, without a path or another partition, so that no other spelling of a role's
# ARN slips past a policy about it.
_ARN = re.compile(r"arn:aws:iam::([0-9]{12}):role/([\w+=,.@-]{1,64})", re.ASCII)
_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)

SHORTEST_SESSION, LONGEST_SESSION = 900, 43_200
"""Seconds that a session of a role may last."""

RoleErrorKind = Literal["missing", "trust", "foreign", "reason"]
"""Why a role cannot be assumed: *missing*, there is no role of this name, or the text is not a role's ARN;
*trust*, its trust policy does not allow it; *foreign*, it belongs to another account; *reason*, it is for
emergencies, and nobody said which.
"""

REASON_TAG, REASON_PREFIX = "reason", "reason="
"""The session tag that says why a role for emergencies is taken, and how a session's name says it."""


def check_name(name: str) -> None:
    """Raises `ConfigurationError` unless a role may have this name."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} is not a valid role name: use 1 to 64 letters, digits or any of _+=,.@-"
        )


def check_max_session(seconds: int | None) -> None:
    """Raises `ConfigurationError` unless sessions of a role may be limited to so many seconds."""
    if seconds is not None and not SHORTEST_SESSION <= seconds <= LONGEST_SESSION:
        raise ConfigurationError(
            f"The maximum session of a role must be from {SHORTEST_SESSION // 60} minutes to "
            f"{LONGEST_SESSION // 3600} hours, not {seconds} seconds"
        )


def rights_of(role: Role | None) -> str | None:
    """A digest of who may take a role, how and for how long, and what it may do then: for the audit trail."""
    if role is None:
        return None
    flags = ["for emergencies"] if role.is_for_emergencies else []
    if role.max_session_seconds is not None:
        flags.append(f"for {role.max_session_seconds} s")
    return rights((role.trust_policy, *role.policies, *flags))


class RoleError(LightwellError):
    """A role cannot be assumed. ``trust`` is what its trust policy says, None if it was not asked."""

    def __init__(self, kind: RoleErrorKind, message: str, trust: TrustDecision | None = None) -> None:
        super().__init__(message)
        self.kind: RoleErrorKind = kind
        self.trust = trust


@dataclass(frozen=True, slots=True)
class TakenRole:
    """Whom assuming a role makes of somebody, and what its trust policy says of that."""

    principal: Principal
    trust: TrustDecision


@dataclass(frozen=True, slots=True)
class ServicePrincipal:
    """A service that assumes a role, such as ``medical-imaging.amazonaws.com``.

    ``source_arn`` is the resource on whose behalf it does so.
    """

    name: str
    source_arn: str | None = None


@dataclass(frozen=True, slots=True)
class WebIdentity:
    """Who bears a genuine token of an OpenID provider; ``issuer`` is its URL. ``claims`` are the token's."""

    issuer: str
    subject: str
    audience: str
    claims: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _LookedUp:
    role: Role | None


class Roles:
    """The roles of the account, cached for `recent.FRESH_MS`; safe to use from several threads."""

    def __init__(self, db: Database, account: str, region: str) -> None:
        self._db = db
        self._account = account
        self._region = region
        self._known: Recent[str, _LookedUp] = Recent(_MOST_KNOWN)

    def assume(
        self,
        arn: str,
        caller: Principal | ServicePrincipal | WebIdentity,
        *,
        session: str,
        now: int,
        context: Context | None = None,
        session_policies: Sequence[str] | None = None,
        reason: str | None = None,
    ) -> TakenRole:
        """The principal that ``caller`` becomes by assuming the role, and which statement lets them.

        It has no access key and cannot sign; its ``arn`` is that of the session. ``now`` is milliseconds
        since the epoch, ``context`` holds further condition keys for the trust policy, and
        ``session_policies`` narrow what the role may do. Without a ``reason`` nobody takes a role for
        emergencies, least of all a service. Blocks unless the role `is_cached`. Raises `RoleError`.
        """
        name = self.role_name(arn)
        role = self.get(name, now)
        if role is None:
            raise RoleError("missing", f"There is no role {arn}; `lightwell role list` shows the roles.")
        whole: Context = {**(context or {}), "sts:rolesessionname": session}
        trust = self._trust(role, caller, whole, now)
        if not trust.allowed:
            message = f"The trust policy of {arn} does not let {_name(caller)} assume it."
            raise RoleError("trust", message, trust)
        if role.is_for_emergencies and not reason:
            raise RoleError("reason", NO_REASON.format(arn=arn), trust)
        provider = caller.issuer if isinstance(caller, WebIdentity) else None
        return TakenRole(self.session(role, session, now, session_policies, provider), trust)

    def trusting(self, identity: WebIdentity, session: str, now: int, context: Context) -> list[Role]:
        """The roles that somebody may take in a session of this name. Blocks."""
        with self._db.read() as conn:
            found = table.page(conn)
        whole: Context = {**context, "sts:rolesessionname": session}
        return [role for role in found if self._trust(role, identity, whole, now).allowed]

    def _trust(
        self, role: Role, caller: Principal | ServicePrincipal | WebIdentity, context: Context, now: int
    ) -> TrustDecision:
        whole = {**context, **self._caller_context(caller)}
        return decide(role.trust_policy, self._assuming_principal(caller), whole, now)

    def session(
        self,
        role: Role,
        session: str,
        now: int,
        session_policies: Sequence[str] | None = None,
        provider: str | None = None,
    ) -> Principal:
        """The principal of a session of the role, without an access key.

        ``provider`` is the issuer of the token that it was taken with, if that was one.
        """
        context = session_context(self._account, self._region, role.name, session, provider)
        return Principal(
            access_key_id="",
            arn=arns.session_arn(self._account, f"{role.name}/{session}"),
            secret="",
            session_token=None,
            expires_at=None,
            policies=permissions(role.policies, context, session_policies),
            role=role.name,
            issued_at=now,
            emergency=role.is_for_emergencies,
        )

    def role_name(self, arn: str) -> str:
        """The name in the ARN of a role of this account. Raises `RoleError`."""
        match = _ARN.fullmatch(arn)
        if match is None:
            raise RoleError("missing", f"{arn[:200]!r} is not the ARN of a role.")
        if match[1] != self._account:
            raise RoleError("foreign", f"The role {arn} belongs to an account other than {self._account}.")
        return match[2]

    def is_cached(self, arn: str, now: int) -> bool:
        """Whether `assume` would succeed or fail without querying the database."""
        try:
            return self._known.get(self.role_name(arn), now) is not None
        except RoleError:
            return True

    def get(self, name: str, now: int) -> Role | None:
        """The role, as it was at most `recent.FRESH_MS` ago."""
        entry = self._known.get(name, now)
        if entry is None:
            with self._db.read() as conn:
                entry = _LookedUp(table.get(conn, name))
            self._known.put(name, entry, now)
        return entry.role

    def _caller_context(self, caller: Principal | ServicePrincipal | WebIdentity) -> dict[str, Value]:
        if isinstance(caller, Principal):
            return {**principal_context(caller, self._account, self._region)}
        if isinstance(caller, WebIdentity):
            provider = arns.oidc_provider_arn(self._account, caller.issuer)
            claims = claim_context(caller.issuer.partition("://")[2], caller.claims)
            return {**claims, "aws:federatedprovider": provider}
        context: dict[str, Value] = {
            "aws:principalisawsservice": "true",
            "aws:sourceaccount": self._account,
        }
        if caller.source_arn is not None:
            context["aws:sourcearn"] = caller.source_arn
        return context

    def _assuming_principal(self, caller: Principal | ServicePrincipal | WebIdentity) -> AssumingPrincipal:
        if isinstance(caller, WebIdentity):
            return AssumingPrincipal(provider=arns.oidc_provider_arn(self._account, caller.issuer))
        if isinstance(caller, Principal):
            return AssumingPrincipal(
                arns=frozenset({caller.arn, caller.identity(self._account)}), account=self._account
            )
        regional = caller.name.replace(".amazonaws.com", f".{self._region}.amazonaws.com")
        return AssumingPrincipal(services=frozenset({caller.name, regional}))


def _name(caller: Principal | ServicePrincipal | WebIdentity) -> str:
    if isinstance(caller, Principal):
        return caller.arn
    return caller.subject if isinstance(caller, WebIdentity) else caller.name
