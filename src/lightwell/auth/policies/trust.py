"""Trust policies: who may assume a role.

Source: IAM User Guide, "AWS JSON policy elements: Principal". As in identity policies, an explicit Deny wins;
an Allow that is not understood allows nothing, and such a Deny denies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lightwell.auth.policies.condition_keys import Context, time_context
from lightwell.auth.policies.conditions import Condition, all_of, compile_condition
from lightwell.auth.policies.patterns import Template, Truth, action_template
from lightwell.auth.policies.policy import NOT_UNDERSTOOD, digest, scalars, statements_of, texts

ASSUME_ROLE = "sts:AssumeRole"
ASSUME_ROLE_WITH_WEB_IDENTITY = "sts:AssumeRoleWithWebIdentity"

_NO_STATEMENT = "no statement of the trust policy"
_ELEMENTS = {"Sid", "Effect", "Principal", "Action", "NotAction", "Condition"}


@dataclass(frozen=True, slots=True)
class AssumingPrincipal:
    """Who wants to assume a role: a service, by its names, or a principal of ``account``, by its ARNs.

    Or whoever has a token of an OpenID provider, by the provider's ARN; that is an action of its own.
    """

    arns: frozenset[str] = frozenset()
    account: str | None = None
    services: frozenset[str] = frozenset()
    provider: str | None = None

    @property
    def action(self) -> str:
        """The action that a trust policy must allow."""
        return ASSUME_ROLE if self.provider is None else ASSUME_ROLE_WITH_WEB_IDENTITY

    def matches(self, kind: str, name: str) -> bool:
        """Whether one entry of a ``Principal`` element matches."""
        if kind == "Service":
            return name in self.services
        if kind == "Federated":
            return self.provider is not None and name == self.provider
        if kind != "AWS" or self.account is None:
            return False
        return name in ("*", self.account, f"arn:aws:iam::{self.account}:root") or name in self.arns


@dataclass(frozen=True, slots=True)
class TrustStatement:
    """One statement of a trust policy. ``principals`` are (kind, name) pairs.

    ``understood`` is False if it has elements that are not supported. ``title`` is where to find it: its
    number and Sid.
    """

    allows: bool
    principals: tuple[tuple[str, str], ...]
    actions: tuple[Template, ...]
    not_actions: bool
    conditions: tuple[Condition, ...]
    understood: bool = True
    title: str = "the trust policy"

    def applies(self, caller: AssumingPrincipal, context: Context) -> Truth:
        """Whether it applies to the caller's assuming the role; None if that is unknown."""
        if not self.understood:
            return None
        named = any(template.match(caller.action, {}) is True for template in self.actions)
        if named is self.not_actions or not any(caller.matches(*each) for each in self.principals):
            return False
        return all_of(condition.test(context) for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class TrustDecision:
    """Whether a trust policy lets somebody assume its role, for records.

    ``title`` is that of the statement that says so, or that there is none; ``policy`` is the `digest` of its
    policy, None without a statement.
    """

    allowed: bool
    title: str
    policy: str | None


def decide(policy: str, caller: AssumingPrincipal, context: Context, now: int) -> TrustDecision:
    """Whether the trust policy, in JSON, lets the caller assume its role; ``now`` in ms since the epoch."""
    context = {**time_context(now), **context}
    applying = [(statement, statement.applies(caller, context)) for statement in compile_trust_policy(policy)]
    for statement, applies in applying:
        if not statement.allows and applies is not False:
            return TrustDecision(False, statement.title, digest(policy))
    for statement, applies in applying:
        if statement.allows and applies is True:
            return TrustDecision(True, statement.title, digest(policy))
    return TrustDecision(False, _NO_STATEMENT, None)


@lru_cache(maxsize=256)
def compile_trust_policy(text: str) -> tuple[TrustStatement, ...]:
    """The statements of a trust policy in JSON; if it is not understood, one that denies everyone."""
    try:
        statements, variables = statements_of(text)
        return tuple(
            _statement(statement, number, variables=variables)
            for number, statement in enumerate(statements, 1)
        )
    except NOT_UNDERSTOOD:
        return (TrustStatement(False, (), (), False, (), understood=False),)


def _statement(read: dict[str, Any], number: int, *, variables: bool) -> TrustStatement:
    effect, sid = read["Effect"], read.get("Sid")
    if effect not in ("Allow", "Deny"):
        raise ValueError(effect)
    return TrustStatement(
        allows=effect == "Allow",
        principals=tuple(principals(read.get("Principal"))),
        actions=tuple(action_template(text) for text in texts(read.get("Action", read.get("NotAction")))),
        not_actions="NotAction" in read and "Action" not in read,
        conditions=tuple(
            compile_condition(operator, key, scalars(values), variables=variables)
            for operator, tests in read.get("Condition", {}).items()
            for key, values in tests.items()
        ),
        understood=set(read) <= _ELEMENTS,
        title=f"statement {number}{f' ({sid})' if sid else ''} of the trust policy",
    )


def principals(value: object) -> list[tuple[str, str]]:
    """A ``Principal`` element as (kind, name) pairs. Raises `TypeError` if it is not a valid one."""
    if value == "*":
        return [("AWS", "*")]
    if not isinstance(value, dict):
        raise TypeError("Principal must be * or an object")
    return [(kind, name) for kind, names in value.items() for name in texts(names)]
