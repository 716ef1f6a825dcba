"""Why a decision was made, statement by statement, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lightwell.auth.policies.condition_keys import Context, Unknown
from lightwell.auth.policies.conditions import Condition
from lightwell.auth.policies.policy import Permissions, Statement


@dataclass(frozen=True, slots=True)
class Line:
    """What one statement has to do with the decision; ``applies`` as it counted."""

    title: str
    effect: str
    applies: bool
    why: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision; ``deciding`` is the title of the statement that made it, None where none allows."""

    allowed: bool
    reason: str
    deciding: str | None
    lines: tuple[Line, ...]


def explain(permissions: Permissions, action: str, resource: str, context: Context) -> Explanation:
    """Decide, and say by what."""
    decision = permissions.decide(action, resource, context)
    whole = {**permissions.principal_context, **context}
    deciding = decision.statement.title if decision.statement is not None else None
    if decision.allowed:
        reason = f"{deciding} allows it, and no statement denies it"
    elif decision.explicit:
        reason = f"{deciding} denies it"
    else:
        kind = "session policy" if decision.layer == "session" else "policy"
        reason = f"no statement of any {kind} allows it"
    lines = tuple(
        _line(statement, action, resource, whole)
        for statements in permissions.layers.values()
        for statement in statements
    )
    return Explanation(decision.allowed, reason, deciding, lines)


def _line(statement: Statement, action: str, resource: str, context: Context) -> Line:
    effect = "Allow" if statement.allows else "Deny"
    if not statement.concerns(action):
        named = "every action but those that it names" if statement.not_actions else "other actions"
        return Line(statement.title, effect, False, f"it is about {named}")
    covered = statement.covers(resource, context)
    if covered is False:
        named = "every resource but those that it names" if statement.not_resources else "other resources"
        return Line(statement.title, effect, False, f"it is about {named}")
    truth = statement.applies(resource, context)
    applies = truth is True if statement.allows else truth is not False
    reasons = list(_reasons(statement, covered, context))
    if truth is True:
        met = ", ".join(reasons)
        return Line(
            statement.title, effect, applies, f"action and resource are its own{f'; {met}' if met else ''}"
        )
    return Line(statement.title, effect, applies, "; ".join(reasons))


def _reasons(statement: Statement, covered: bool | None, context: Context) -> Iterator[str]:
    if statement.why is not None:
        yield f"{statement.why}: what is not understood allows nothing and denies"
    elif covered is None:
        yield "a variable in its resource has no value that could be known"
    for condition in statement.conditions:
        truth = condition.test(context)
        words = {True: "is met", False: "is not met", None: "cannot be decided"}[truth]
        why = f" ({condition.why})" if condition.why else _held(condition, context)
        yield f"{condition.operator} {condition.key} {'/'.join(condition.values)} {words}{why}"


def _held(condition: Condition, context: Context) -> str:
    value = context.get(condition.key.lower())
    if value is None or value == ():
        return " (the request has no such key)"
    if isinstance(value, Unknown):
        return " (its value is not known)"
    return f" (it is {value if isinstance(value, str) else ', '.join(value)})"
