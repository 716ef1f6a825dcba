"""Which statement a check of several actions and resources was decided by."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from lightwell.auth.authorization import AccessControl, RequestContext
from lightwell.auth.policies.actions import AuthorizationRequest
from lightwell.auth.policies.policy import digest, permissions
from lightwell.auth.principal_context import user_context
from lightwell.auth.principals import Principal
from lightwell.errors import AccessDeniedError
from tests.unit.auth.policies.decisions import (
    ACCOUNT,
    DELETE,
    GET,
    OTHER,
    REGION,
    SEARCH,
    SET,
    STORE,
    Statement,
    allow,
    deny,
)

NOW = RequestContext(0)
READERS = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "Look", **allow([GET, SEARCH], STORE)},
            {"Sid": "Sets", **allow(GET, STORE + "/*")},
            {"Sid": "Keep", **deny(DELETE)},
        ],
    }
)
OTHERS = json.dumps({"Version": "2012-10-17", "Statement": [allow(SEARCH, OTHER)]})
NARROW = json.dumps({"Version": "2012-10-17", "Statement": [allow(SEARCH)]})


def asked(*pairs: tuple[str | tuple[str, ...], str]) -> list[AuthorizationRequest]:
    return [
        AuthorizationRequest((actions,) if isinstance(actions, str) else actions, resource)
        for actions, resource in pairs
    ]


def principal(*policies: str, session: str | None = None) -> Principal:
    own = permissions(policies, user_context(ACCOUNT, REGION, "bob"), None if session is None else [session])
    return Principal("AKLW", "arn:aws:iam::000000000000:user/bob", "", None, None, own)


def decided_by(who: Principal, required: list[AuthorizationRequest]) -> list[str]:
    """The titles of the statements that allow and the digests of their policies, or those of what denies."""
    access_control = AccessControl(cast("Any", None), REGION, ACCOUNT)
    try:
        allowing = [each.statement for each in access_control.check(who, required, NOW)]
    except AccessDeniedError as error:
        assert error.statement is not None
        return [f"denied: {error.statement}{f', {error.policy}' if error.policy else ''}"]
    assert None not in allowing
    return [f"{each.title}, {each.policy}" for each in allowing if each is not None]


LOOK, SETS, KEEP = (
    f"statement {number} ({sid}) of policy, {digest(READERS)}"
    for number, sid in enumerate(("Look", "Sets", "Keep"), 1)
)


@pytest.mark.parametrize(
    ("required", "statements"),
    [
        (asked((GET, STORE)), [LOOK]),
        (asked((SEARCH, STORE)), [LOOK]),
        (asked((GET, SET)), [SETS]),
        (asked((GET, STORE), (GET, SET)), [LOOK, SETS]),
        (asked((GET, STORE), (SEARCH, STORE)), [LOOK]),
        (asked(((SEARCH, "medical-imaging:SearchElsewhere"), STORE)), [LOOK]),
        (asked((("medical-imaging:SearchElsewhere", SEARCH), STORE)), [LOOK]),
        (asked((DELETE, SET)), [f"denied: {KEEP}"]),
        (asked((GET, STORE), (DELETE, SET)), [f"denied: {KEEP}"]),
        (asked(((GET, DELETE), STORE)), [f"denied: {KEEP}"]),
        (asked((SEARCH, OTHER)), ["denied: no statement of the identity policies"]),
    ],
)
def test_says_which_statement_decided(required: list[AuthorizationRequest], statements: list[str]) -> None:
    assert decided_by(principal(READERS), required) == statements


def test_tells_the_policies_of_a_principal_apart() -> None:
    both = principal(READERS, OTHERS)
    assert decided_by(both, asked((SEARCH, OTHER))) == [f"statement 1 of policy 2, {digest(OTHERS)}"]
    assert decided_by(both, asked((SEARCH, STORE))) == [f"statement 1 (Look) of policy 1, {digest(READERS)}"]


def test_says_when_it_is_the_policy_of_the_session_that_does_not_allow() -> None:
    narrowed = principal(READERS, session=NARROW)
    assert decided_by(narrowed, asked((GET, STORE))) == ["denied: no statement of the session policy"]
    assert decided_by(narrowed, asked((SEARCH, STORE))) == [LOOK]


def test_a_principal_without_policies_is_allowed_by_none() -> None:
    root = Principal("AKLW", "arn:aws:iam::000000000000:root", "", None, None)
    assert decided_by(root, asked((DELETE, SET))) == []


def test_a_policy_that_is_not_understood_has_a_digest_too() -> None:
    broken: Statement = {"Effect": "Perhaps"}
    text = json.dumps({"Version": "2012-10-17", "Statement": [broken]})
    assert decided_by(principal(text), asked((GET, STORE))) == [
        f"denied: statement 1 of policy, {digest(text)}"
    ]
