"""Authorization: may this principal do that? Checked before an operation runs, so a refusal reveals nothing.

A principal without policies may do everything, and the check costs nothing. For all others, a decision that
does not depend on the request is remembered (`Permissions`), and tags are looked up only if a policy uses
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lightwell.auth.policies.actions import Actions, AuthorizationRequest
from lightwell.auth.policies.condition_keys import RESOURCE_TAG, Context, tag_context, time_context
from lightwell.auth.policies.policy import Decision, Permissions
from lightwell.auth.principals import Principal
from lightwell.errors import AccessDeniedError
from lightwell.stores.account import tags

if TYPE_CHECKING:
    from lightwell.auth.policies.condition_keys import Value
    from lightwell.stores.db.database import Database


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What policies may test about an HTTP request; ``now`` is milliseconds since the epoch."""

    now: int
    source_ip: str | None = None
    secure: bool = False
    user_agent: str | None = None
    referer: str | None = None

    def as_condition_keys(self) -> dict[str, Value]:
        """The condition keys, in lower case, and their values."""
        context: dict[str, Value] = {
            **time_context(self.now),
            "aws:securetransport": "true" if self.secure else "false",
        }
        for key, value in (
            ("aws:sourceip", self.source_ip),
            ("aws:useragent", self.user_agent),
            ("aws:referer", self.referer),
        ):
            if value is not None:
                context[key] = value
        return context


class AccessControl:
    """Enforces policies for one account and Region; safe to use from several threads."""

    def __init__(self, db: Database, region: str, account: str) -> None:
        self._db = db
        self.actions = Actions(region, account)

    def may_block(self, principal: Principal, required: Sequence[AuthorizationRequest]) -> bool:
        """Whether `check` would query the database, so that it must not be called on an event loop."""
        policies = principal.policies
        return policies is not None and any(_needs_tags(policies, request) for request in required)

    def check(
        self,
        principal: Principal,
        required: Sequence[AuthorizationRequest],
        request_context: RequestContext,
    ) -> tuple[Decision, ...]:
        """The decisions that allow it, one for each statement; none for a principal that may do everything.

        Raises `AccessDeniedError`, in AWS's words, for the first request that is not allowed.
        """
        policies = principal.policies
        if policies is None:
            return ()
        context: Context | None = None
        allowing: tuple[Decision, ...] = ()
        for request in required:
            decided = (
                policies.decided(request.actions[0], request.resource) if len(request.actions) == 1 else None
            )
            if decided is None:
                if context is None:
                    context = _context(principal, request_context)
                decisions = self._decisions(policies, request, context)
            else:
                decisions = [(request.actions[0], decided)]
            action, decision = _deciding(decisions)
            if not decision.allowed:
                raise AccessDeniedError(
                    f"User: {principal.arn} is not authorized to perform: {action} on resource: "
                    f"{request.resource} {decision.reason(action)}",
                    decision.title,
                    None if decision.statement is None else decision.statement.policy,
                )
            # A statement is compared by identity: by value would cost more than all the rest.
            if not any(decision.statement is each.statement for each in allowing):
                allowing += (decision,)
        return allowing

    def allows(
        self,
        principal: Principal,
        required: Sequence[AuthorizationRequest],
        request_context: RequestContext,
    ) -> bool:
        """Whether all of it is allowed. May block."""
        try:
            self.check(principal, required, request_context)
        except AccessDeniedError:
            return False
        return True

    def may_some(
        self, principal: Principal, action: str, prefix: str, request_context: RequestContext
    ) -> bool:
        """Whether an action may be allowed on some resource that begins so; it may be refused on each."""
        policies = principal.policies
        if policies is None:
            return True
        return policies.decide(action, prefix, _context(principal, request_context), below=True).allowed

    def _decisions(
        self, policies: Permissions, request: AuthorizationRequest, context: Context
    ) -> list[tuple[str, Decision]]:
        whole: dict[str, Value] = {**context, **request.context}
        if _needs_tags(policies, request) and request.tagged is not None:
            with self._db.read() as conn:
                whole.update(tag_context(RESOURCE_TAG, tags.get(conn, request.tagged)))
        return [(action, policies.decide(action, request.resource, whole)) for action in request.actions]


def _needs_tags(policies: Permissions, request: AuthorizationRequest) -> bool:
    return request.tagged is not None and any(policies.needs_tags(action) for action in request.actions)


def _context(principal: Principal, request_context: RequestContext) -> Context:
    context = request_context.as_condition_keys()
    if principal.issued_at is not None:
        issued = datetime.fromtimestamp(principal.issued_at / 1000, UTC)
        context["aws:tokenissuetime"] = issued.isoformat(timespec="seconds").replace("+00:00", "Z")
    return context


def _deciding(decisions: Sequence[tuple[str, Decision]]) -> tuple[str, Decision]:
    """The action and decision that count: a Deny of any name, else an Allow of one, else the first name."""
    for decided in decisions:
        if decided[1].explicit:
            return decided
    return next((decided for decided in decisions if decided[1].allowed), decisions[0])
