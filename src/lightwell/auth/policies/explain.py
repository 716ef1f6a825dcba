"""Explain a decision in words, statement by statement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lightwell.auth.policies.condition_keys import Context, Unknown
from lightwell.auth.policies.conditions import Condition
from lightwell.auth.policies.policy import Permissions, Statement


@dataclass(frozen=True, slots=True)
class StatementExplanation:
    """The part of one statement in the decision; ``applies`` is whether it counted."""

    title: str
    effect: str
    applies: bool
    why: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision; ``deciding`` is the title of the statement behind it, None if no statement allows."""

    allowed: bool
    reason: str
    deciding: str | None
    statements: tuple[StatementExplanation, ...]


def explain(permissions: Permissions, action: str, resource: str, context: Context) -> Explanation:
    """Decide, and explain the decision."""
    decision = permissions.decide(action, resource, context)
    whole = {**permissions.principal_context, **context}
    deciding = decision.statement.title if decision.statement is not None else None
    if decision.allowed:
        reason = f"{deciding} allows it, and no statement denies it"
    elif decision.explicit:
        reason = f"{deciding} denies it"
    else:
        kind = "session policy" if decision.layer == "session" else "policy"
        reason = f"no statement in any {kind} allows it"
    statements = tuple(
        _line(statement, action, resource, whole)
        for layer in permissions.layers.values()
        for statement in layer
    )
    return Explanation(decision.allowed, reason, deciding, statements)


def _line(statement: Statement, action: str, resource: str, context: Context) -> StatementExplanation:
    effect = "Allow" if statement.allows else "Deny"
    if not statement.covers_action(action):
        named = "all actions except those listed" if statement.not_actions else "other actions"
        return StatementExplanation(statement.title, effect, False, f"it covers {named}")
    covered = statement.covers_resource(resource, context)
    if covered is False:
        named = "all resources except those listed" if statement.not_resources else "other resources"
        return StatementExplanation(statement.title, effect, False, f"it covers {named}")
    truth = statement.applies(resource, context)
    applies = truth is True if statement.allows else truth is not False
    reasons = list(_reasons(statement, covered, context))
    if truth is True:
        met = ", ".join(reasons)
        return StatementExplanation(
            statement.title, effect, applies, f"action and resource match{f'; {met}' if met else ''}"
        )
    return StatementExplanation(statement.title, effect, applies, "; ".join(reasons))


def _reasons(statement: Statement, covered: bool | None, context: Context) -> Iterator[str]:
    if statement.why is not None:
        yield f"{statement.why}: an Allow that is not understood allows nothing, and a Deny denies"
    elif covered is None:
        yield "a policy variable in its resource has no known value"
    for condition in statement.conditions:
        truth = condition.test(context)
        words = {True: "is met", False: "is not met", None: "cannot be decided"}[truth]
        why = f" ({condition.why})" if condition.why else _held(condition, context)
        yield f"{condition.operator} {condition.key} {'/'.join(condition.values)} {words}{why}"


def _held(condition: Condition, context: Context) -> str:
    value = context.get(condition.key.lower())
    if value is None or value == ():
        return " (the request does not have this key)"
    if isinstance(value, Unknown):
        return " (its value is unknown)"
    return f" (its value is {value if isinstance(value, str) else ', '.join(value)})"
