"""Validate policies before they are stored: what IAM rejects is rejected, with an explanation.

Source: IAM User Guide, "Grammar of the IAM JSON policy language" and the elements' own pages. Beyond that,
operators, keys and values that cannot be evaluated here are rejected: if stored, they would deny.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lightwell.auth.policies.actions import KNOWN
from lightwell.auth.policies.condition_keys import is_supported, nearest
from lightwell.auth.policies.conditions import ConditionError, checked_condition, read_operator
from lightwell.auth.policies.patterns import ArnTemplate, TemplateError, action_template
from lightwell.auth.policies.policy import NEWEST, VERSIONS, scalars, texts
from lightwell.auth.policies.trust import ASSUME_ROLE, principals
from lightwell.errors import ConfigurationError

LONGEST = 10_240
"""Characters of one policy without white space, as for a role's inline policies on AWS."""

_OPERATORS = (
    "StringEquals StringNotEquals StringEqualsIgnoreCase StringNotEqualsIgnoreCase StringLike "
    "StringNotLike NumericEquals NumericNotEquals NumericLessThan NumericLessThanEquals "
    "NumericGreaterThan NumericGreaterThanEquals DateEquals DateNotEquals DateLessThan DateLessThanEquals "
    "DateGreaterThan DateGreaterThanEquals Bool BinaryEquals IpAddress NotIpAddress ArnEquals ArnLike "
    "ArnNotEquals ArnNotLike Null"
)
_SID = re.compile(r"[A-Za-z0-9]*", re.ASCII)
_ACTION = re.compile(r"\*|([a-z0-9-]+):([A-Za-z0-9*?]+)", re.ASCII | re.IGNORECASE)
_VENDOR = re.compile(r"arn:[^:*?]+:[^:*?]+(?::.*)?", re.DOTALL)
_ROLE_PRINCIPAL = re.compile(r"arn:aws[a-z-]*:(?:iam|sts)::\d{12}:[^*?]+", re.ASCII)
_PROVIDER = re.compile(
    r"arn:aws[a-z-]*:iam::\d{12}:(?:oidc|saml)-provider/[^\s*?/]+(?:/[^\s*?]*)?|[a-z0-9-]+(?:\.[a-z0-9-]+)+",
    re.ASCII,
)
MOST_POLICIES = 10
"""Of a key or a role, as IAM's quota for the policies of a user or a role."""
_PRINCIPAL_KINDS = ("AWS", "Service", "Federated", "CanonicalUser")


@dataclass(frozen=True, slots=True)
class ValidatedPolicy:
    """A valid policy: its JSON on one line, and warnings about things that are probably mistakes."""

    text: str
    warnings: tuple[str, ...]


def check_identity_policy(text: str) -> ValidatedPolicy:
    """A policy of a key or role. Raises `ConfigurationError` saying what is wrong, and where."""
    return _checked(text, _identity_statement, "an identity policy")


def check_session_policy(text: str) -> ValidatedPolicy:
    """A policy that narrows one session. Raises `ConfigurationError`."""
    return _checked(text, _identity_statement, "a session policy")


def check_trust_policy(text: str) -> ValidatedPolicy:
    """A policy that says who may assume a role. Raises `ConfigurationError`."""
    return _checked(text, _trust_statement, "a trust policy")


class _Fault(Exception):
    """A statement is invalid; the message says why."""


_Reader = Callable[[dict[str, Any], bool], Iterator[str]]


def _checked(text: str, read: _Reader, what: str) -> ValidatedPolicy:
    document = _document(text)
    unknown = sorted(set(document) - {"Version", "Id", "Statement"})
    if unknown:
        raise ConfigurationError(
            f"The policy has an element {unknown[0]!r}; only Version, Id and Statement are allowed"
        )
    version = document.get("Version", VERSIONS[1])
    if version not in VERSIONS:
        raise ConfigurationError(f'The policy\'s Version is {version!r}; expected "{NEWEST}"')
    statements = document.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise ConfigurationError("The policy has no Statement")
    warnings: list[str] = []
    if version != NEWEST and "${" in text:
        warnings.append(
            f'policy variables such as ${{aws:username}} need "Version": "{NEWEST}"; without it they are '
            "plain text"
        )
    sids: set[str] = set()
    for number, statement in enumerate(statements, 1):
        where = f"Statement {number} of {what}"
        if not isinstance(statement, dict):
            raise ConfigurationError(f"{where} is not an object")
        sid = statement.get("Sid")
        if isinstance(sid, str) and sid:
            where += f" ({sid})"
            if sid in sids:
                raise ConfigurationError(f"{where}: statement ids (SID) in a single policy must be unique")
            sids.add(sid)
        try:
            warnings += [f"{where}: {found}" for found in read(statement, version == NEWEST)]
        except _Fault as fault:
            raise ConfigurationError(f"{where}: {fault}") from None
    return ValidatedPolicy(json.dumps(document, ensure_ascii=False, separators=(",", ":")), tuple(warnings))


def _document(text: str) -> dict[str, Any]:
    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ConfigurationError(
                f"The policy has {twice!r} twice in one object, and only one would count"
            )
        return dict(pairs)

    if len("".join(text.split())) > LONGEST:
        raise ConfigurationError(f"The policy is longer than {LONGEST} characters")
    try:
        document = json.loads(text, object_pairs_hook=object_of)
    except ValueError as error:
        raise ConfigurationError(f"The policy is not valid JSON: {error}") from None
    except RecursionError:
        raise ConfigurationError("The policy is nested too deeply") from None
    if not isinstance(document, dict):
        raise ConfigurationError("The policy is not a JSON object")
    return document


# Statements -----------------------------------------------------------------------------------------------


def _identity_statement(statement: dict[str, Any], variables: bool) -> Iterator[str]:
    for name in ("Principal", "NotPrincipal"):
        if name in statement:
            raise _Fault(
                f"the policy of a key or role cannot have {name}, since it applies to whoever has that key "
                "or role. Who may assume a role is said in its trust policy"
            )
    _elements(statement, {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"})
    yield from _actions(statement)
    for resource in _either(statement, "Resource", "NotResource"):
        _resource(resource, variables)
    _conditions(statement, variables)


def _trust_statement(statement: dict[str, Any], variables: bool) -> Iterator[str]:
    for name in ("Resource", "NotResource"):
        if name in statement:
            raise _Fault(f"a trust policy cannot have {name}: its resource is the role itself")
    if "NotPrincipal" in statement:
        raise _Fault(
            "NotPrincipal is not supported in trust policies; list who may assume the role in Principal"
        )
    _elements(statement, {"Sid", "Effect", "Principal", "Action", "NotAction", "Condition"})
    if "Principal" not in statement:
        raise _Fault("a trust policy must say who may assume the role: Principal is missing")
    try:
        named = principals(statement["Principal"])
    except TypeError as error:
        raise _Fault(f'{error}, e.g. {{"Service": "medical-imaging.amazonaws.com"}}') from None
    if not named:
        raise _Fault("Principal is empty")
    for kind, name in named:
        _principal(kind, name)
    actions = _either(statement, "Action", "NotAction")
    for action in actions:
        _action(action)
        if not action.lower().startswith(("sts:", "*")):
            raise _Fault(f"a trust policy must be about sts actions such as {ASSUME_ROLE}, not {action}")
    _conditions(statement, variables)
    return iter(())


def _elements(statement: dict[str, Any], known: set[str]) -> None:
    for name in sorted(set(statement) - known):
        found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        raise _Fault(f"there is no element {name!r}{f'; did you mean {found[0]}?' if found else ''}")
    if statement.get("Effect") not in ("Allow", "Deny"):
        raise _Fault(f'Effect is {statement.get("Effect")!r}; expected "Allow" or "Deny"')
    sid = statement.get("Sid", "")
    if not isinstance(sid, str) or _SID.fullmatch(sid) is None:
        raise _Fault(f"Sid is {sid!r}; only letters and digits are allowed")


def _either(statement: dict[str, Any], name: str, negated: str) -> list[str]:
    """The strings of one of the two elements, exactly one of which must be present."""
    if name in statement and negated in statement:
        raise _Fault(f"{name} and {negated} cannot be used together")
    if name not in statement and negated not in statement:
        raise _Fault(f"{name} or {negated} is missing")
    used = name if name in statement else negated
    try:
        found = texts(statement[used])
    except TypeError:
        found = []
    if not found or not all(found):
        raise _Fault(f"{used} must be a string or a non-empty list of strings")
    return found


def _actions(statement: dict[str, Any]) -> Iterator[str]:
    for action in _either(statement, "Action", "NotAction"):
        _action(action)
        template = action_template(action)
        if any(template.match(known, {}) is True for known in KNOWN):
            continue
        spelled = {known.lower(): known for known in KNOWN}
        found = difflib.get_close_matches(action.lower(), spelled, n=1, cutoff=0.8)
        hint = f"; did you mean {spelled[found[0]]}?" if found else ""
        if not action.lower().startswith("medical-imaging:") and not hint:
            continue  # of another service, whose policies may be used here, too
        yield f"{action} does not match any action that a request needs{hint}"


def _action(action: str) -> None:
    if _ACTION.fullmatch(action) is None:
        raise _Fault(
            f"{action!r} is not an action; expected SERVICE:NAME such as medical-imaging:GetImageSet, in "
            "which NAME may contain * and ?, or * alone"
        )


def _resource(resource: str, variables: bool) -> None:
    try:
        ArnTemplate(resource, variables=variables, complete=True)
    except TemplateError as error:
        raise _Fault(str(error)) from None
    if resource.strip("*") and _VENDOR.fullmatch(resource) is None:
        raise _Fault(
            f'resource {resource!r} must be an ARN, with no wildcards in partition and service, or "*"'
        )


def _principal(kind: str, name: str) -> None:
    if kind not in _PRINCIPAL_KINDS:
        raise _Fault(f"there is no kind of principal {kind!r}; use {', '.join(_PRINCIPAL_KINDS)}")
    is_named = name == "*" or re.fullmatch(r"[0-9]{12}", name) or _ROLE_PRINCIPAL.fullmatch(name)
    if kind == "AWS" and not is_named:
        raise _Fault(
            f"{name!r} is not a principal; expected the ARN of a user, role or session without wildcards, an "
            "account ID, or * alone"
        )
    if kind == "Federated" and not _PROVIDER.fullmatch(name):
        raise _Fault(
            f"{name!r} is not an identity provider; expected arn:aws:iam::ACCOUNT:oidc-provider/ISSUER, the "
            "issuer without https://"
        )
    if kind == "Service" and not re.fullmatch(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+", name):
        raise _Fault(f"{name!r} is not a service; expected a name such as medical-imaging.amazonaws.com")


def _conditions(statement: dict[str, Any], variables: bool) -> None:
    blocks = statement.get("Condition", {})
    if not isinstance(blocks, dict):
        raise _Fault("Condition is not an object")
    for operator, tests in blocks.items():
        try:
            read_operator(operator)
        except ConditionError as error:
            found = difflib.get_close_matches(operator, _OPERATORS.split(), n=1, cutoff=0.6)
            raise _Fault(f"{error}{f'; did you mean {found[0]}?' if found else ''}") from None
        if not isinstance(tests, dict) or not tests:
            raise _Fault(f"{operator} must be an object of condition keys and their values")
        for key, values in tests.items():
            if not is_supported(key.lower()):
                hint = nearest(key)
                raise _Fault(
                    f"the condition key {key} is not supported, so nothing could be decided by it"
                    f"{f'; did you mean {hint}?' if hint else ''}"
                )
            try:
                checked_condition(operator, key, scalars(values), variables=variables)
            except (ConditionError, TypeError) as error:
                raise _Fault(str(error)) from None


def checked_policies(policies: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """The texts of valid policies, and the warnings of each. Raises `ConfigurationError`."""
    if len(policies) > MOST_POLICIES:
        raise ConfigurationError(f"There are {len(policies)} policies; {MOST_POLICIES} are the most.")
    found = []
    for number, text in enumerate(policies, 1):
        try:
            checked = check_identity_policy(text)
        except ConfigurationError as error:
            where = f"Policy {number}: " if len(policies) > 1 else ""
            raise ConfigurationError(f"{where}{error}") from None
        found.append((checked.text, checked.warnings))
    return found
