"""Compiled IAM policies: which statement decides about an action on a resource.

Sources: IAM User Guide, "IAM JSON policy elements reference" and "Policy evaluation logic". An explicit Deny
wins; otherwise the identity policies must allow, and so must the session policies, if there are any.

Compiling never fails: an Allow that is stored but not understood allows nothing, and such a Deny denies.
`policies.validation` rejects invalid policies, with an explanation, before they are stored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from lightwell.auth.policies.actions import OTHER_NAMES
from lightwell.auth.policies.condition_keys import RESOURCE_TAG, STABLE, Context
from lightwell.auth.policies.conditions import Condition, all_of, any_of, compile_condition, negate
from lightwell.auth.policies.patterns import (
    ArnTemplate,
    NoValue,
    Template,
    TemplateError,
    Truth,
    action_template,
)

Layer = Literal["identity", "session"]

NEWEST = "2012-10-17"
VERSIONS = (NEWEST, "2008-10-17")

_MOST_DECIDED = 4_096
# The ARN of an image set has some 120 characters, but a request path may hold anything, of any length.
_LONGEST_DECIDED = 256
_NO_STATEMENT: dict[Layer, str] = {
    "identity": "no statement of the identity policies",
    "session": "no statement of the session policy",
}
_ELEMENTS = {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. ``source`` names its policy, in which ``number`` counts from 1.

    ``why`` says what about it is not understood, in which case it is unknown whether it applies. ``policy``
    is the `digest` of the policy. ``title`` is where to find it: number, Sid and policy; it is made here, not
    for each request.
    """

    source: str
    number: int
    sid: str | None
    allows: bool
    actions: tuple[Template, ...]
    not_actions: bool
    resources: tuple[ArnTemplate, ...]
    not_resources: bool
    conditions: tuple[Condition, ...]
    keys: frozenset[str]
    why: str | None = None
    policy: str = ""
    title: str = field(init=False)

    def __post_init__(self) -> None:
        title = f"statement {self.number}{f' ({self.sid})' if self.sid else ''} of {self.source}"
        object.__setattr__(self, "title", title)

    def covers_action(self, action: str) -> bool:
        """Whether the statement covers the action."""
        if self.why is not None and not self.actions:
            return True
        if not self.not_actions:
            return any(template.match(action, {}) is True for template in self.actions)
        names = (action, OTHER_NAMES.get(action, action))
        return not any(template.match(name, {}) is True for template in self.actions for name in names)

    def covers_resource(self, resource: str, context: Context, *, below: bool = False) -> Truth:
        """Whether the statement covers the resource; for ``below`` see `Permissions.decide`."""
        if self.why is not None and not self.resources:
            return None
        match: Callable[[ArnTemplate, str, Context], Truth | NoValue] = ArnTemplate.match
        if below:
            match = ArnTemplate.match_some if self.allows is not self.not_resources else ArnTemplate.match_all
        found = [match(template, resource, context) for template in self.resources]
        if self.not_resources:
            return negate(any_of(None if isinstance(each, NoValue) else each for each in found))
        return any_of(False if isinstance(each, NoValue) else each for each in found)

    def applies(self, resource: str, context: Context, *, below: bool = False) -> Truth:
        """Whether it applies to a request whose action it covers; None if that is unknown."""
        covered = self.covers_resource(resource, context, below=below)
        if covered is False:
            return False
        met = all_of(condition.test(context) for condition in self.conditions)
        return all_of((covered, met, None if self.why is not None else True))


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether an action is allowed, and why. ``layer`` is the kind of policy that decided.

    ``statement`` is the one that allows or denies; None if no statement of the layer allows.
    """

    allowed: bool
    layer: Layer
    statement: Statement | None = None

    @property
    def explicit(self) -> bool:
        return not self.allowed and self.statement is not None

    @property
    def title(self) -> str:
        """What decided: the statement's title, or that there is none."""
        return self.statement.title if self.statement is not None else _NO_STATEMENT[self.layer]

    def reason(self, action: str) -> str:
        """The end of AWS's message for a denied request."""
        kind = "identity-based policy" if self.layer == "identity" else "session policy"
        if self.explicit:
            article = "an" if self.layer == "identity" else "a"
            return f"with an explicit deny in {article} {kind}"
        return f"because no {kind} allows the {action} action"


NOT_UNDERSTOOD = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading a stored policy may raise if it is not a valid one."""


def statements_of(text: str) -> tuple[list[Any], bool]:
    """The statements of a policy in JSON, not yet compiled, and whether its Version has policy variables.

    Raises the exceptions in `NOT_UNDERSTOOD`.
    """
    document = json.loads(text)
    version = document.get("Version", VERSIONS[1])
    statements = document["Statement"]
    if isinstance(statements, dict):
        statements = [statements]
    if version not in VERSIONS:
        raise ValueError(f"its Version is {version!r}")
    return statements, version == NEWEST


def digest(text: str) -> str:
    """What tells a policy in JSON from what it was before it was changed: the beginning of its SHA-256."""
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def rights(policies: Sequence[str] | None) -> str:
    """What tells some policies from others: a digest of all of them; None are those of an administrator."""
    return "administrator" if policies is None else digest("\n".join(policies))


def compile_policy(text: str, source: str) -> tuple[Statement, ...]:
    """The statements of a policy in JSON; if it is not understood, one statement that denies everything."""
    policy = _Policy(source, digest(text))
    try:
        statements, variables = statements_of(text)
        return tuple(
            _statement(statement, policy, number, variables=variables)
            for number, statement in enumerate(statements, 1)
        )
    except NOT_UNDERSTOOD as error:
        return (_deny_all(policy, 1, f"the policy is not understood: {error}"),)


@dataclass(frozen=True, slots=True)
class _Policy:
    """What a statement says of the policy that it is in."""

    source: str
    digest: str


def _deny_all(policy: _Policy, number: int, why: str) -> Statement:
    return Statement(
        source=policy.source,
        number=number,
        sid=None,
        allows=False,
        actions=(),
        not_actions=False,
        resources=(),
        not_resources=False,
        conditions=(),
        keys=frozenset(),
        why=why,
        policy=policy.digest,
    )


def _statement(read: dict[str, Any], policy: _Policy, number: int, *, variables: bool) -> Statement:
    effect, why = read["Effect"], None
    if effect not in ("Allow", "Deny"):
        return _deny_all(policy, number, f"its Effect is {effect!r}")
    unknown = sorted(set(read) - _ELEMENTS)
    if unknown:
        why = f"its element {unknown[0]} is not supported"
    actions = [action_template(text) for text in texts(read.get("Action", read.get("NotAction")))]
    resources: list[ArnTemplate] = []
    try:
        for text in texts(read.get("Resource", read.get("NotResource"))):
            resources.append(ArnTemplate(text, variables=variables, complete=True))
    except TemplateError as error:
        resources, why = [], str(error)
    if not actions or (not resources and why is None):
        why = "it lacks Action or Resource"
    conditions = tuple(
        compile_condition(operator, key, scalars(values), variables=variables)
        for operator, tests in read.get("Condition", {}).items()
        for key, values in tests.items()
    )
    keys = frozenset().union(*(each.keys for each in conditions), *(each.keys for each in resources))
    sid = read.get("Sid")
    return Statement(
        source=policy.source,
        number=number,
        sid=sid if isinstance(sid, str) and sid else None,
        allows=effect == "Allow",
        actions=tuple(actions),
        not_actions="NotAction" in read and "Action" not in read,
        resources=tuple(resources),
        not_resources="NotResource" in read and "Resource" not in read,
        conditions=conditions,
        keys=keys,
        why=why,
        policy=policy.digest,
    )


def texts(value: object) -> list[str]:
    """A string or list of strings as a list; None gives an empty one. Raises `TypeError` for others."""
    found = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise TypeError(f"{value!r:.100} is neither a string nor a list of strings")
    return found


def scalars(value: object) -> list[str]:
    """The values of a condition, which may be written as strings, numbers or booleans, as strings."""
    found = value if isinstance(value, list) else [value]
    result = []
    for each in found:
        if isinstance(each, bool):
            result.append("true" if each else "false")
        elif isinstance(each, str | int | float):
            result.append(str(each))
        else:
            raise TypeError(f"{each!r:.100} is not a valid condition value")
    return result


@dataclass(frozen=True, slots=True)
class _Candidates:
    """The statements of one layer that cover an action."""

    layer: Layer
    denies: tuple[Statement, ...]
    allows: tuple[Statement, ...]


class Permissions:
    """What one principal may do: its identity policies and the session policies that narrow them.

    ``principal_context`` holds the condition keys that are the same for all its requests
    (`condition_keys.STABLE`). Safe to use from several threads.
    """

    def __init__(
        self,
        identity: Sequence[Statement],
        session: Sequence[Statement] | None,
        principal_context: Mapping[str, str],
    ) -> None:
        self.principal_context = principal_context
        self.layers: dict[Layer, tuple[Statement, ...]] = (
            {"identity": tuple(identity)}
            if session is None
            else {
                "session": tuple(session),
                "identity": tuple(identity),
            }
        )
        self._candidates: dict[str, tuple[tuple[_Candidates, ...], frozenset[str]]] = {}
        self._decided: dict[tuple[str, str], Decision] = {}

    def decided(self, action: str, resource: str) -> Decision | None:
        """The decision, if it was made before and does not depend on the request."""
        return self._decided.get((action, resource))

    def keys(self, action: str) -> frozenset[str]:
        """The condition keys that a decision about the action may depend on."""
        return self._candidates_for(action)[1]

    def needs_tags(self, action: str) -> bool:
        """Whether a decision about the action may depend on the tags of the resource."""
        return any(key.startswith(RESOURCE_TAG) for key in self._candidates_for(action)[1])

    def decide(self, action: str, resource: str, context: Context, *, below: bool = False) -> Decision:
        """The decision; ``action`` as AWS spells it, ``resource`` an ARN or ``*``.

        With ``below``, about all resources that begin with ``resource``, before it is known which exist: an
        Allow counts if it may apply to some of them, a Deny if it applies to all of them. What is denied in
        this way is denied for each.
        """
        if below:
            return _decide(
                self._candidates_for(action)[0], resource, {**self.principal_context, **context}, below=True
            )
        known = self._decided.get((action, resource))
        if known is not None:
            return known
        layers, keys = self._candidates_for(action)
        decision = _decide(layers, resource, {**self.principal_context, **context})
        if keys <= STABLE and len(resource) <= _LONGEST_DECIDED:
            if len(self._decided) >= _MOST_DECIDED:
                self._decided.clear()
            self._decided[action, resource] = decision
        return decision

    def _candidates_for(self, action: str) -> tuple[tuple[_Candidates, ...], frozenset[str]]:
        found = self._candidates.get(action)
        if found is None:
            layers: list[_Candidates] = []
            keys: set[str] = set()
            for layer, statements in self.layers.items():
                covering = [statement for statement in statements if statement.covers_action(action)]
                keys.update(key for statement in covering for key in statement.keys)
                layers.append(
                    _Candidates(
                        layer,
                        tuple(statement for statement in covering if not statement.allows),
                        tuple(statement for statement in covering if statement.allows),
                    )
                )
            found = self._candidates[action] = tuple(layers), frozenset(keys)
        return found


def _decide(
    layers: Sequence[_Candidates], resource: str, context: Context, *, below: bool = False
) -> Decision:
    for layer in layers:
        for statement in layer.denies:
            if statement.applies(resource, context, below=below) is not False:
                return Decision(False, layer.layer, statement)
    last: Decision | None = None
    for layer in layers:
        allowing = next((s for s in layer.allows if s.applies(resource, context, below=below) is True), None)
        if allowing is None:
            return Decision(False, layer.layer)
        last = Decision(True, layer.layer, allowing)
    assert last is not None
    return last


@lru_cache(maxsize=1024)
def _compiled(policies: tuple[str, ...], source: str) -> tuple[Statement, ...]:
    return tuple(
        statement
        for number, text in enumerate(policies, 1)
        for statement in compile_policy(text, source if len(policies) == 1 else f"{source} {number}")
    )


@lru_cache(maxsize=4096)
def _permissions(
    identity: tuple[str, ...], session: tuple[str, ...] | None, principal_context: tuple[tuple[str, str], ...]
) -> Permissions:
    return Permissions(
        _compiled(identity, "policy"),
        None if session is None else _compiled(session, "session policy"),
        dict(principal_context),
    )


def permissions(
    identity: Sequence[str], principal_context: Mapping[str, str], session: Sequence[str] | None = None
) -> Permissions:
    """The permissions under these policies, given in JSON; the same arguments give the same object."""
    return _permissions(
        tuple(identity), None if session is None else tuple(session), tuple(sorted(principal_context.items()))
    )
