"""The guard: may this principal do that? Asked before an operation runs, so a refusal tells nothing.

Who has no policies may do everything and costs nothing. For the others a decision that no request can change
is remembered (`Permissions`), and tags are looked up only where a policy asks for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lightwell.auth.policies.actions import Actions, AuthorizationRequest
from lightwell.auth.policies.condition_keys import RESOURCE_TAG, Context, tag_context
from lightwell.auth.policies.policy import Decision, Permissions
from lightwell.auth.policies.trust import moment
from lightwell.auth.principals import Principal
from lightwell.errors import AccessDeniedError
from lightwell.stores.account import tags

if TYPE_CHECKING:
    from lightwell.auth.policies.condition_keys import Value
    from lightwell.stores.db.database import Database


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What a request tells of itself; ``now`` is milliseconds since the epoch."""

    now: int
    source_ip: str | None = None
    secure: bool = False
    user_agent: str | None = None
    referer: str | None = None

    def context(self) -> dict[str, Value]:
        """As context keys."""
        context: dict[str, Value] = {
            **moment(self.now),
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


class Authorizer:
    """Decides for one account and Region; safe to use from several threads."""

    def __init__(self, db: Database, region: str, account: str) -> None:
        self._db = db
        self.actions = Actions(region, account)

    def may_wait(self, principal: Principal, asks: Sequence[AuthorizationRequest]) -> bool:
        """Whether `check` would ask the database, so that it must not be called on an event loop."""
        policies = principal.policies
        return policies is not None and any(_wants_tags(policies, ask) for ask in asks)

    def check(
        self, principal: Principal, asks: Sequence[AuthorizationRequest], facts: RequestContext
    ) -> None:
        """Raises `AccessDeniedError` for the first thing that is not allowed, in AWS's words."""
        policies = principal.policies
        if policies is None:
            return
        context: Context | None = None
        for ask in asks:
            known = policies.known(ask.actions[0], ask.resource) if len(ask.actions) == 1 else None
            if known is None:
                if context is None:
                    context = _context(principal, facts)
                decisions = self._decisions(policies, ask, context)
            else:
                decisions = [(ask.actions[0], known)]
            refusal = _refusal(decisions)
            if refusal is not None:
                action, decision = refusal
                raise AccessDeniedError(
                    f"User: {principal.arn} is not authorized to perform: {action} on resource: "
                    f"{ask.resource} {decision.reason(action)}"
                )

    def _decisions(
        self, policies: Permissions, ask: AuthorizationRequest, context: Context
    ) -> list[tuple[str, Decision]]:
        asked = {**context, **ask.context}
        if _wants_tags(policies, ask) and ask.tagged is not None:
            with self._db.read() as conn:
                asked.update(tag_context(RESOURCE_TAG, tags.get(conn, ask.tagged)))
        return [(action, policies.decide(action, ask.resource, asked)) for action in ask.actions]


def _wants_tags(policies: Permissions, ask: AuthorizationRequest) -> bool:
    return ask.tagged is not None and any(policies.wants_tags(action) for action in ask.actions)


def _context(principal: Principal, facts: RequestContext) -> Context:
    context = facts.context()
    if principal.issued_at is not None:
        issued = datetime.fromtimestamp(principal.issued_at / 1000, UTC)
        context["aws:tokenissuetime"] = issued.isoformat(timespec="seconds").replace("+00:00", "Z")
    return context


def _refusal(decisions: Sequence[tuple[str, Decision]]) -> tuple[str, Decision] | None:
    """What to refuse with: a Deny of any of the names, or the first name where none is allowed."""
    for action, decision in decisions:
        if decision.explicit:
            return action, decision
    if any(decision.allowed for _, decision in decisions):
        return None
    return decisions[0]
