"""What policies decide of all that begins with an ARN, before it is known what there is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightwell.auth.policies.patterns import text_template
from lightwell.auth.policies.policy import permissions
from lightwell.auth.principal_context import user_context

CONTEXT = user_context("000000000000", "us-east-1", "bob")
GET = "s3:GetObject"


def arn(key: str) -> str:
    return f"arn:aws:s3:::{key}"


def allowed(statements: list[dict[str, Any]], prefix: str) -> bool:
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    return permissions([policy], CONTEXT).decide(GET, arn(prefix), {}, below=True).allowed


def one(effect: str, *resources: str, named: str = "Resource", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": "s3:*", named: [arn(each) for each in resources], **more}


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ([one("Allow", "in/studies/*")], True),
        ([one("Allow", "in/*")], True),
        ([one("Allow", "*")], True),
        ([one("Allow", "in/stud??s/*")], True),
        ([one("Allow", "in/*.dcm")], True),
        ([one("Allow", "in/studies/1.dcm")], True),
        ([one("Allow", "in/${aws:username, 'x'}/*"), one("Allow", "in/studies/*")], True),
        ([one("Allow", "in/studies/${aws:username}/*")], True),
        ([one("Allow", "in/other/*")], False),
        ([one("Allow", "in")], False),
        ([one("Allow", "in/studies")], False),
        ([one("Allow", "input/*")], False),
        ([one("Allow", "in/${aws:username}/*")], False),
        ([one("Allow", "in/studies/*", Condition={"Bool": {"aws:MultiFactorAuthPresent": "true"}})], False),
        ([one("Allow", "*"), one("Deny", "in/studies/*")], False),
        ([one("Allow", "*"), one("Deny", "in/*")], False),
        ([one("Allow", "*"), one("Deny", "in/stud*")], False),
        # A Deny of some of it waits until it is known what there is.
        ([one("Allow", "*"), one("Deny", "in/studies/secret/*")], True),
        ([one("Allow", "*"), one("Deny", "in/*.txt")], True),
        ([one("Allow", "in/secret/*", named="NotResource")], True),
        ([one("Allow", "in/*", named="NotResource")], False),
        ([one("Allow", "*"), one("Deny", "in/studies/*", named="NotResource")], True),
        ([one("Allow", "*"), one("Deny", "in/other/*", named="NotResource")], False),
        ([{**one("Allow", "*"), "Sounds": 1}], False),
        ([one("Allow", "*"), {**one("Deny", "out/*"), "Action": "s3:PutObject"}], True),
    ],
)
def test_decides_of_what_is_below(statements: list[dict[str, Any]], expected: bool) -> None:
    assert allowed(statements, "in/studies/") is expected


def test_is_not_taken_for_a_decision_of_one_resource() -> None:
    policy = json.dumps({"Version": "2012-10-17", "Statement": [one("Allow", "in/studies/*")]})
    found = permissions([policy], CONTEXT)
    assert found.decide(GET, arn("in/st"), {}, below=True).allowed
    assert not found.decide(GET, arn("in/st"), {}).allowed
    assert found.decide(GET, arn("in/st"), {}, below=True).allowed


_pieces = st.text("ab*?", max_size=6)
_plain = st.text("ab", max_size=5)


@given(_pieces, _plain, _plain)
def test_agrees_with_what_is_found_later(pattern: str, prefix: str, rest: str) -> None:
    template = text_template(pattern, variables=False, wildcards=True)
    matches = template.match(prefix + rest, {})
    if matches:
        assert template.match_some(prefix, {})
    else:
        assert not template.match_all(prefix, {})


@given(_pieces, _plain)
def test_says_that_something_matches_only_where_something_does(pattern: str, prefix: str) -> None:
    template = text_template(pattern, variables=False, wildcards=True)
    # What the pattern itself spells, its wildcards filled, behind what a first * may have taken.
    tails = [pattern[place:].replace("*", "").replace("?", "a") for place in range(len(pattern) + 1)]
    found = any(template.match(prefix + tail, {}) for tail in tails)
    assert template.match_some(prefix, {}) is found
