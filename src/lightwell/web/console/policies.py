"""``policies``: is a policy valid, and which statement decides about a request?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from lightwell.auth.policies.actions import (
    KNOWN,
    SIMULATE_CUSTOM,
    SIMULATE_PRINCIPAL,
    AuthorizationRequest,
)
from lightwell.auth.policies.asked import condition_keys, known_action
from lightwell.auth.policies.condition_keys import Context
from lightwell.auth.policies.explain import explain as explain_request
from lightwell.auth.policies.validation import (
    check_identity_policy,
    check_session_policy,
    check_trust_policy,
)
from lightwell.auth.principals import Identity
from lightwell.errors import ConfigurationError, NotFoundError, ValidationError
from lightwell.web.console.route import Answer, Body, Call, Route

_CHECKS = {"identity": check_identity_policy, "session": check_session_policy, "trust": check_trust_policy}
_LONGEST_RESOURCE, _MOST_KEYS, _MOST_CHECKS = 2048, 50, 400


class Draft(Body):
    """A policy in JSON, as text."""

    policy: str
    kind: Literal["identity", "session", "trust"] = "identity"


class Validity(Answer):
    """``message`` says what is wrong and where, null if the policy is valid."""

    is_valid: bool
    message: str | None
    warnings: list[str]


class Actions(Answer):
    actions: list[str]


class ConditionKey(Body):
    key: str
    value: str


class Subject(Body):
    """Exactly one of ``accessKeyId``, ``roleName`` and ``policies`` (JSON texts) says whose request it is."""

    access_key_id: str | None = None
    role_name: str | None = None
    policies: list[str] | None = None


class Question(Subject, kw_only=True):
    action: str
    resource: str
    context: list[ConditionKey] = msgspec.field(default_factory=list)


class SimulatedRequest(Body):
    """A resource that ends in ``/*`` asks whether it may be allowed on some of those."""

    action: str
    resource: str


class Simulation(Subject, kw_only=True):
    checks: list[SimulatedRequest]


class Simulated(Answer):
    principal: str
    allowed: list[bool]


class StatementShown(Answer):
    statement: str
    effect: str
    applies: bool
    why: str


class Decision(Answer):
    """``deciding`` is the statement behind it, null if none allows, or if the principal may do everything."""

    principal: str
    action: str
    resource: str
    allowed: bool
    reason: str
    deciding: str | None
    statements: list[StatementShown]


def validate(call: Call) -> Validity:
    """Whether a policy could be stored, with the words of `lightwell key create`."""
    draft: Draft = call.body
    try:
        checked = _CHECKS[draft.kind](draft.policy)
    except ConfigurationError as error:
        return Validity(is_valid=False, message=str(error), warnings=[])
    return Validity(is_valid=True, message=None, warnings=list(checked.warnings))


def list_actions(call: Call) -> Actions:
    """Every action that some request of this server needs."""
    return Actions(actions=sorted(set(KNOWN)))


def explain(call: Call) -> Decision:
    """Which statement allows or denies an action, and why."""
    asked: Question = call.body
    _check_resource(asked.resource)
    if len(asked.context) > _MOST_KEYS:
        raise ValidationError(f"Give at most {_MOST_KEYS} condition keys.")
    try:
        identity = _identity(call, asked)
        action = known_action(asked.action)
        given = condition_keys((each.key, each.value) for each in asked.context)
    except ConfigurationError as error:
        raise ValidationError(f"{str(error).rstrip('.')}.") from None
    context = {**_context(call, asked.resource), **given}
    return _decision(identity, action, asked.resource, context)


def simulate(call: Call) -> Simulated:
    """Whether each of many requests would be allowed."""
    asked: Simulation = call.body
    if len(asked.checks) > _MOST_CHECKS:
        raise ValidationError(f"Ask for at most {_MOST_CHECKS} checks at a time.")
    try:
        identity = _identity(call, asked)
        actions = [known_action(check.action) for check in asked.checks]
    except ConfigurationError as error:
        raise ValidationError(f"{str(error).rstrip('.')}.") from None
    if identity.policies is None:
        return Simulated(principal=identity.arn, allowed=[True] * len(actions))
    contexts: dict[str, Context] = {}
    allowed = []
    for action, check in zip(actions, asked.checks, strict=True):
        _check_resource(check.resource)
        is_some = check.resource.endswith("/*")
        resource = check.resource.removesuffix("*") if is_some else check.resource
        if resource not in contexts:
            contexts[resource] = _context(call, resource)
        allowed.append(identity.policies.decide(action, resource, contexts[resource], below=is_some).allowed)
    return Simulated(principal=identity.arn, allowed=allowed)


def _check_resource(resource: str) -> None:
    if not 0 < len(resource) <= _LONGEST_RESOURCE:
        raise ValidationError("A resource is an ARN, or *.")


def _identity(call: Call, asked: Subject) -> Identity:
    administration = call.state.administration
    if asked.access_key_id is not None:
        return administration.of_key(asked.access_key_id)
    if asked.role_name is not None:
        return administration.of_role(asked.role_name, call.now)
    return administration.of_policies(asked.policies or ())


def _context(call: Call, resource: str) -> Context:
    """The time, and the tags of the resource, as far as the caller may read them."""
    action = "medical-imaging:ListTagsForResource"
    with_tags = call.allows(call.state.access_control.actions.named(action, resource))
    return call.state.administration.context_of(resource, call.now, with_tags=with_tags)


def _decision(identity: Identity, action: str, resource: str, context: Context) -> Decision:
    if identity.policies is None:
        return Decision(
            principal=identity.arn,
            action=action,
            resource=resource,
            allowed=True,
            reason="the key has no policy and may do everything",
            deciding=None,
            statements=[],
        )
    found = explain_request(identity.policies, action, resource, context)
    return Decision(
        principal=identity.arn,
        action=action,
        resource=resource,
        allowed=found.allowed,
        reason=found.reason,
        deciding=found.deciding,
        statements=[
            StatementShown(statement=each.title, effect=each.effect, applies=each.applies, why=each.why)
            for each in found.statements
        ],
    )


def _required_to_explain(call: Call) -> Sequence[AuthorizationRequest]:
    asked: Subject = call.body
    given = [each is not None for each in (asked.access_key_id, asked.role_name, asked.policies)]
    if sum(given) != 1:
        raise ValidationError("Give one of accessKeyId, roleName and policies.")
    actions = call.state.access_control.actions
    if asked.policies is not None:
        return [AuthorizationRequest((SIMULATE_CUSTOM,), "*")]
    if asked.role_name is not None:
        return actions.iam(SIMULATE_PRINCIPAL, f"role/{asked.role_name}")
    key = call.state.administration.key(asked.access_key_id or "")
    if key is None:
        call.check(actions.iam(SIMULATE_PRINCIPAL, "user/*"))
        raise NotFoundError(f"There is no valid access key {(asked.access_key_id or '')[:128]}.")
    return actions.iam(SIMULATE_PRINCIPAL, "root" if key.is_root else f"user/{key.name}")


ROUTES = (
    Route(
        "ConsoleValidatePolicy",
        "POST",
        "policies/validate",
        validate,
        None,
        body=msgspec.json.Decoder(Draft),
        body_limit=256 << 10,
        says="Whether a policy is valid, in the words of `lightwell key create` and `role put`.",
    ),
    Route(
        "ConsoleListActions",
        "GET",
        "policies/actions",
        list_actions,
        None,
        says="Every action that some request of this server needs.",
    ),
    Route(
        "ConsoleExplainPolicy",
        "POST",
        "policies/explain",
        explain,
        _required_to_explain,
        body=msgspec.json.Decoder(Question),
        action="`iam:SimulatePrincipalPolicy` on `user/NAME` or `role/NAME`, for `policies` "
        "`iam:SimulateCustomPolicy` on `*`; the resource's tags count if the caller may "
        "`medical-imaging:ListTagsForResource`",
        says="Which statement allows or denies an action on a resource, and why, as "
        "`lightwell policy explain` says it: for the user of a key, for a session of a role, or for policies "
        "that nobody has yet.",
    ),
    Route(
        "ConsoleSimulatePolicy",
        "POST",
        "policies/simulate",
        simulate,
        _required_to_explain,
        body=msgspec.json.Decoder(Simulation),
        action="as `policies/explain`",
        says="Whether each of up to 400 pairs of action and resource would be allowed, as `policies/explain` "
        "says it of one. A resource that ends in `/*` asks whether it may be allowed on some of those.",
    ),
)
