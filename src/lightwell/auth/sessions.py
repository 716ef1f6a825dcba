"""Temporary credentials: sessions of a role, from AssumeRole and AssumeRoleWithWebIdentity.

Source: AWS STS API Reference, AssumeRole and AssumeRoleWithWebIdentity (constraints, session policies, role
chaining). Stored encrypted, like access keys, until a day after they expire, so that a late client learns
that its session has expired.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lightwell.auth.policies.actions import ASSUME_ROLE, AuthorizationRequest
from lightwell.auth.policies.trust import ASSUME_ROLE_WITH_WEB_IDENTITY
from lightwell.auth.policies.validation import check_session_policy
from lightwell.auth.principal_context import role_id
from lightwell.auth.principals import Credentials, Principal, new_credentials
from lightwell.auth.roles import (
    LONGEST_SESSION,
    REASON_PREFIX,
    SESSION_NAME,
    SHORTEST_SESSION,
    RoleError,
    Roles,
    WebIdentity,
)
from lightwell.auth.secret_box import SecretBox
from lightwell.domain import arn as arns
from lightwell.errors import AccessDeniedError, ConfigurationError, QuotaExceededError, ValidationError
from lightwell.stores.account import principals as table
from lightwell.stores.account.principals import AccessKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from lightwell.auth.authorization import AccessControl, RequestContext
    from lightwell.auth.policies.policy import Decision
    from lightwell.auth.policies.trust import TrustDecision
    from lightwell.stores.account.roles import Role
    from lightwell.stores.db.database import Database

SHORTEST, LONGEST = SHORTEST_SESSION, LONGEST_SESSION
DEFAULT_DURATION, LONGEST_CHAINED = 3_600, 3_600
LONGEST_POLICY = 2_048
KEPT_MS = 24 * 3600 * 1000
"""How long temporary credentials are kept after they have ended."""
MOST_SESSIONS = 1000
"""How many sessions that are good one key, or one person of an OpenID provider, may have."""
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)


def check_room(conn: Connection, session: AccessKey, now: int) -> None:
    """Raises `QuotaExceededError` if whoever wants another session has `MOST_SESSIONS` already."""
    if table.is_full(conn, now, MOST_SESSIONS, session):
        raise QuotaExceededError(
            f"There are {MOST_SESSIONS} sessions that are good for the same key or person: use one of them, "
            "wait until some expire, or end some in the console."
        )


class PolicyError(ValidationError):
    """A session policy is invalid; the message says why."""

    code = "MalformedPolicyDocument"


@dataclass(frozen=True, slots=True)
class WantedSession:
    """What a caller of STS wants: the name of the session, and how many seconds it is to last, an hour or as
    long as the role allows if None; a session policy; what the trust policy may ask for; and why the role is
    taken, if it is one for emergencies."""

    name: str
    duration: int | None = None
    policy: str | None = None
    external_id: str | None = None
    reason: str | None = None

    def why(self) -> str | None:
        """The reason, which the session's name may say, too."""
        said = self.name[len(REASON_PREFIX) :] if self.name.startswith(REASON_PREFIX) else ""
        return self.reason or said or None


@dataclass(frozen=True, slots=True)
class AssumedRole:
    """The result of AssumeRole. ``expires_at`` is milliseconds, ``packed`` PackedPolicySize, in percent.

    ``decisions`` are those of the caller's own policies, if these count, and ``trust`` that of the role's
    trust policy. ``emergency``: the role is for
    emergencies, or was taken with a session of one; ``reason`` is why, if that was said.
    """

    credentials: Credentials
    session_token: str
    expires_at: int
    arn: str
    id: str
    packed: int | None
    decisions: tuple[Decision, ...] = ()
    emergency: bool = False
    reason: str | None = None
    trust: TrustDecision | None = None


class Sessions:
    """Issues temporary credentials."""

    def __init__(
        self,
        db: Database,
        secret_box: SecretBox,
        roles: Roles,
        access_control: AccessControl,
        account: str,
        announce: Callable[[Connection, AccessKey], None] = lambda conn, key: None,
    ) -> None:
        """``announce`` is called in the transaction that makes a session for an emergency."""
        self._announce = announce
        self._db = db
        self._secret_box = secret_box
        self._roles = roles
        self._access_control = access_control
        self._account = account

    def assume(
        self,
        caller: Principal,
        role_arn: str,
        wanted: WantedSession,
        request_context: RequestContext,
    ) -> AssumedRole:
        """Assume a role. Blocks.

        Both the caller's own policies and the role's trust policy must allow it. Raises `ValidationError` for
        a parameter out of bounds or a reason that is missing, `PolicyError` for an invalid session policy, or
        `AccessDeniedError`.
        """
        _check(caller, role_arn, wanted)
        session, policy, external_id = wanted.name, wanted.policy, wanted.external_id
        decisions = self._access_control.check(
            caller,
            [AuthorizationRequest((ASSUME_ROLE,), role_arn, None, _context(session, external_id))],
            request_context,
        )
        context = {**request_context.as_condition_keys(), **_context(session, external_id)}
        try:
            taken = self._roles.assume(
                role_arn,
                caller,
                session=session,
                now=request_context.now,
                context=context,
                session_policies=None if policy is None else [policy],
                reason=wanted.why(),
            )
        except RoleError as error:
            if error.kind == "reason":
                raise ValidationError(str(error)) from None
            # As on AWS, the message does not reveal whether the role is missing or does not trust the caller.
            hint = (
                ""
                if error.kind != "foreign"
                else f". The roles of this server belong to account {self._account}"
            )
            raise AccessDeniedError(
                f"User: {caller.arn} is not authorized to perform: {ASSUME_ROLE} on resource: "
                f"{role_arn}{hint}",
                *_by(error),
            ) from None
        seconds = self._seconds(taken.principal, request_context.now, wanted.duration)
        issued = self._issue(taken.principal, wanted, request_context.now, seconds, caller)
        return replace(issued, decisions=decisions, trust=taken.trust)

    def assume_with_token(
        self,
        identity: WebIdentity,
        role_arn: str,
        wanted: WantedSession,
        request_context: RequestContext,
    ) -> AssumedRole:
        """The same for somebody with a token of an OpenID provider; the trust policy alone decides. Blocks.

        Raises `ValidationError`, `PolicyError` or `AccessDeniedError`.
        """
        _check(None, role_arn, wanted)
        try:
            taken = self._roles.assume(
                role_arn,
                identity,
                session=wanted.name,
                now=request_context.now,
                context=request_context.as_condition_keys(),
                session_policies=None if wanted.policy is None else [wanted.policy],
                reason=wanted.why(),
            )
        except RoleError as error:
            if error.kind == "reason":
                raise ValidationError(str(error)) from None
            # As on AWS, the message does not reveal whether the role is missing or does not trust the bearer.
            raise AccessDeniedError(
                f"Not authorized to perform {ASSUME_ROLE_WITH_WEB_IDENTITY}", *_by(error)
            ) from None
        seconds = self._seconds(taken.principal, request_context.now, wanted.duration)
        issued = self._issue(taken.principal, wanted, request_context.now, seconds, identity)
        return replace(issued, trust=taken.trust)

    def _seconds(self, assumed: Principal, now: int, duration: int | None) -> int:
        """How long a session of the role lasts. Raises `ValidationError` if it may not last so long."""
        assert assumed.role is not None
        role = self._roles.get(assumed.role, now)
        longest = LONGEST if role is None else role.max_session_seconds or LONGEST
        if duration is None:
            return min(DEFAULT_DURATION, longest)
        if duration > longest:
            raise ValidationError(
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
            )
        return duration

    def roles_for(self, identity: WebIdentity, session: str, request_context: RequestContext) -> list[Role]:
        """The roles that somebody with a token may take. Blocks."""
        context = request_context.as_condition_keys()
        return self._roles.trusting(identity, session, request_context.now, context)

    def role_arn(self, name: str) -> str:
        """The ARN of a role of this account."""
        return arns.role_arn(self._account, name)

    def _issue(
        self,
        assumed: Principal,
        wanted: WantedSession,
        now: int,
        duration: int,
        taker: Principal | WebIdentity,
    ) -> AssumedRole:
        session, policy = wanted.name, wanted.policy
        identity = taker if isinstance(taker, WebIdentity) else None
        emergency = assumed.emergency or (isinstance(taker, Principal) and taker.emergency)
        made, token = new_credentials(temporary=True), secrets.token_urlsafe(96)
        assert assumed.role is not None
        key = AccessKey(
            id=made.access_key_id,
            name=f"{assumed.role}/{session}",
            secret=self._secret_box.encrypt(made.secret_access_key),
            session_token=self._secret_box.encrypt(token),
            is_root=False,
            created_at=now,
            expires_at=now + duration * 1000,
            revoked_at=None,
            policies=None if policy is None else (policy,),
            role=assumed.role,
            session_name=session,
            provider=None if identity is None else identity.issuer,
            subject=None if identity is None else identity.subject,
            taken_by=taker.owner if isinstance(taker, Principal) else None,
            emergency=emergency,
        )

        def work(conn: Connection) -> None:
            table.remove_ended(conn, now - KEPT_MS)
            if identity is not None:
                check_room(conn, key, now)
            table.insert(conn, key)
            if emergency:
                self._announce(conn, key)

        self._db.write(work)
        return AssumedRole(
            made,
            token,
            now + duration * 1000,
            arns.session_arn(self._account, f"{assumed.role}/{session}"),
            f"{role_id(self._account, assumed.role)}:{session}",
            None if policy is None else max(1, round(len(policy) * 100 / LONGEST_POLICY)),
            emergency=emergency,
            reason=wanted.why() if emergency else None,
        )


def _by(error: RoleError) -> tuple[str | None, str | None]:
    """The statement of the trust policy that refused, and its policy: for records."""
    return (None, None) if error.trust is None else (error.trust.title, error.trust.policy)


def _context(session: str, external_id: str | None) -> dict[str, str]:
    context = {"sts:rolesessionname": session}
    if external_id is not None:
        context["sts:externalid"] = external_id
    return context


def _check(caller: Principal | None, role_arn: str, wanted: WantedSession) -> None:
    session, duration, external_id = wanted.name, wanted.duration, wanted.external_id
    if not 20 <= len(role_arn) <= 2048 or not role_arn.isprintable():
        raise _refused(role_arn, "roleArn", "Member must have length between 20 and 2048")
    if SESSION_NAME.fullmatch(session) is None:
        raise _refused(
            session,
            "roleSessionName",
            f"Member must satisfy regular expression pattern: {SESSION_NAME.pattern}",
        )
    if duration is not None and not SHORTEST <= duration <= LONGEST:
        raise _refused(
            str(duration), "durationSeconds", f"Member must have value between {SHORTEST} and {LONGEST}"
        )
    if caller is not None and caller.role is not None and (duration or 0) > LONGEST_CHAINED:
        raise ValidationError(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role "
            "chaining"
        )
    if external_id is not None and _EXTERNAL_ID.fullmatch(external_id) is None:
        raise _refused(
            external_id,
            "externalId",
            f"Member must satisfy regular expression pattern: {_EXTERNAL_ID.pattern}",
        )
    if wanted.policy is not None:
        _check_policy(wanted.policy)


def _check_policy(policy: str) -> None:
    if not 1 <= len(policy) <= LONGEST_POLICY:
        raise _refused(policy[:60], "policy", f"Member must have length between 1 and {LONGEST_POLICY}")
    try:
        check_session_policy(policy)
    except ConfigurationError as error:
        raise PolicyError(str(error)) from None


def _refused(value: str, member: str, constraint: str) -> ValidationError:
    return ValidationError(
        f"1 validation error detected: Value '{value[:200]}' at '{member}' failed to satisfy constraint: "
        f"{constraint}"
    )
