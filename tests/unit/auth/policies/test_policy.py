"""What policies decide: a table with the reason of each decision, and what holds of any policy."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightwell.auth.policies.policy import Decision, Permissions, compile_policy, permissions
from lightwell.auth.principal_context import user_context
from tests.unit.auth.policies.decisions import (
    ACCOUNT,
    BASE,
    CASES,
    DELETE,
    GET,
    REGION,
    SEARCH,
    SET,
    STORE,
    STUDY,
    Case,
    Statement,
    allow,
    deny,
    on,
)

CONTEXT = user_context(ACCOUNT, REGION, "bob")


def document(statements: list[Statement], version: str = "2012-10-17") -> str:
    return json.dumps({"Version": version, "Statement": statements})


def lowered(context: dict[str, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in context.items()}


def decide(case: Case) -> Decision:
    identity = compile_policy(document(case.statements, case.version), "policy")
    session = None if case.session is None else compile_policy(document(case.session), "session policy")
    return Permissions(identity, session, CONTEXT).decide(case.action, case.resource, lowered(case.context))


def verdict(decision: Decision) -> str:
    if decision.statement is None:
        return "none"
    return f"{'allow' if decision.allowed else 'deny'} {decision.statement.number}"


def test_the_table_is_long() -> None:
    assert len(CASES) >= 200


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why)
def test_decides(case: Case) -> None:
    assert verdict(decide(case)) == case.verdict


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", "{", '{"Statement": 1}', '{"Statement": [1]}', '{"Statement": [{"Effect": []}]}',
     '{"Statement": [{"Effect": "Allow", "Action": 1, "Resource": "*"}]}',
     '{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": []}]}',
         '{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": null}}',
         '{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": 1}}}',
     '{"Version": [], "Statement": []}', "[" * 100_000],
)  # fmt: skip
def test_denies_by_a_policy_that_it_does_not_understand(text: str) -> None:
    broken = compile_policy(text, "policy")
    everything = compile_policy(document([allow()]), "policy")
    decision = Permissions([*broken, *everything], None, CONTEXT).decide(GET, STORE, {})
    assert (decision.allowed, decision.explicit) == (False, True)


def test_remembers_only_what_no_request_can_change() -> None:
    steady = permissions(
        [document([allow(GET, STORE, on=on("StringEquals", "aws:username", "bob"))])], CONTEXT
    )
    assert steady.decided(GET, STORE) is None
    assert steady.decide(GET, STORE, {}).allowed
    assert steady.decided(GET, STORE) is not None
    moving = permissions([document([allow(GET, STORE, on=on("StringEquals", STUDY, "1.2"))])], CONTEXT)
    assert moving.decide(GET, STORE, lowered({STUDY: "1.2"})).allowed
    assert moving.decided(GET, STORE) is None
    assert not moving.decide(GET, STORE, lowered({STUDY: "1.3"})).allowed


def test_remembers_nothing_of_a_path_of_any_length() -> None:
    all_of_it = permissions([document([allow()])], CONTEXT)
    assert all_of_it.decide(GET, STORE + "x" * 10_000, {}).allowed
    assert all_of_it.decided(GET, STORE + "x" * 10_000) is None
    assert all_of_it.decide(GET, SET, {}).allowed and all_of_it.decided(GET, SET) is not None


def test_keeps_one_set_of_permissions_as_long_as_nothing_changes() -> None:
    texts = [document([allow()])]
    assert permissions(texts, CONTEXT) is permissions(list(texts), dict(CONTEXT))
    assert permissions(texts, CONTEXT) is not permissions(texts, user_context(ACCOUNT, REGION, "eve"))
    assert permissions(texts, CONTEXT) is not permissions(texts, CONTEXT, [document([allow()])])


def test_asks_for_tags_only_where_a_statement_does() -> None:
    tagged = allow(GET, on=on("StringEquals", "aws:ResourceTag/Project", "x"))
    found = permissions([document([tagged, allow(SEARCH)])], CONTEXT)
    assert found.needs_tags(GET)
    assert not found.needs_tags(SEARCH)


def test_answers_in_the_words_of_aws() -> None:
    table: tuple[tuple[list[Any], list[Any] | None, str], ...] = (
        ([], None, f"because no identity-based policy allows the {GET} action"),
        ([deny()], None, "with an explicit deny in an identity-based policy"),
        ([allow()], [], f"because no session policy allows the {GET} action"),
        ([allow()], [deny()], "with an explicit deny in a session policy"),
    )
    for statements, session, words in table:
        assert decide(Case("", statements, "", session=session)).reason(GET) == words


def test_takes_no_longer_for_a_pattern_full_of_stars() -> None:
    pattern = "a*" * 60 + "b"
    statements = [allow(on=on("StringLike", "aws:UserAgent", pattern))]
    assert verdict(decide(Case("", statements, "", {"aws:UserAgent": "a" * 8_000}))) == "none"


# What holds of any policy ---------------------------------------------------------------------------------

_actions = st.sampled_from([GET, SEARCH, DELETE, "medical-imaging:*", "medical-imaging:Get*", "*", "s3:Get?"])
_resources = st.sampled_from([STORE, SET, BASE + "*", "*", BASE + "${aws:username}", BASE + "${aws:Moon}"])
_conditions = st.lists(
    st.sampled_from(
        [
            on("StringEquals", STUDY, "1.2"),
            on("StringNotLike", STUDY, "1.*"),
            on("StringEqualsIfExists", "aws:ResourceTag/Project", "x", "y"),
            on("ForAllValues:StringEquals", "aws:TagKeys", "a"),
            on("ForAnyValue:StringEquals", "aws:TagKeys", "a"),
            on("NotIpAddress", "aws:SourceIp", "10.0.0.0/8"),
            on("Null", "aws:ResourceTag/Project", "true"),
            on("StringEquals", "aws:Moon", "full"),
            on("Sounds", STUDY, "1.2"),
        ]
    ),
    max_size=2,
).map(lambda parts: {operator: tests for part in parts for operator, tests in part.items()})
_contexts = st.fixed_dictionaries(
    {},
    optional={
        STUDY.lower(): st.sampled_from(["1.2", "1.3", "2.1"]),
        "aws:resourcetag/project": st.sampled_from(["x", "z"]),
        "aws:tagkeys": st.lists(st.sampled_from("ab"), max_size=2).map(tuple),
        "aws:sourceip": st.sampled_from(["10.1.2.3", "192.0.2.1"]),
    },
)
_asks = st.tuples(
    st.sampled_from([GET, SEARCH, DELETE]), st.sampled_from([STORE, SET, BASE + "bob", "*"]), _contexts
)


@st.composite
def _statements(draw: st.DrawFn, effects: tuple[str, ...] = ("Allow", "Deny")) -> Statement:
    made: Statement = {"Effect": draw(st.sampled_from(effects))}
    made[draw(st.sampled_from(["Action", "Action", "NotAction"]))] = draw(
        st.lists(_actions, min_size=1, max_size=2)
    )
    made[draw(st.sampled_from(["Resource", "Resource", "NotResource"]))] = draw(
        st.lists(_resources, min_size=1, max_size=2)
    )
    if condition := draw(_conditions):
        made["Condition"] = condition
    return made


_policies = st.lists(_statements(), max_size=4)
_Ask = tuple[str, str, dict[str, Any]]


def allowed(statements: list[Statement], ask: _Ask, session: list[Statement] | None = None) -> bool:
    identity = compile_policy(document(statements), "policy")
    narrowed = None if session is None else compile_policy(document(session), "session policy")
    return Permissions(identity, narrowed, CONTEXT).decide(*ask).allowed


_few = settings(max_examples=60, deadline=None)


@_few
@given(_policies, _statements(effects=("Deny",)), _asks)
def test_a_deny_more_never_allows_more(policy: list[Statement], more: Statement, ask: _Ask) -> None:
    assert allowed(policy, ask) or not allowed([*policy, more], ask)


@_few
@given(_policies, _statements(effects=("Allow",)), _asks)
def test_an_allow_more_never_denies_more(policy: list[Statement], more: Statement, ask: _Ask) -> None:
    assert not allowed(policy, ask) or allowed([*policy, more], ask)


@_few
@given(_policies.flatmap(lambda policy: st.tuples(st.just(policy), st.permutations(policy))), _asks)
def test_the_order_of_statements_never_matters(
    policies: tuple[list[Statement], list[Statement]], ask: _Ask
) -> None:
    assert allowed(policies[0], ask) == allowed(policies[1], ask)


@_few
@given(_policies, _asks, st.data())
def test_how_statements_are_shared_out_over_policies_never_matters(
    policy: list[Statement], ask: _Ask, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(policy)))
    shared = permissions([document(policy[:cut]), document(policy[cut:])], CONTEXT)
    assert shared.decide(*ask).allowed == allowed(policy, ask)


@_few
@given(_policies, _statements(effects=("Allow",)), _actions, _resources, _asks)
def test_a_wider_allow_never_denies(
    policy: list[Statement], statement: Statement, action: str, resource: str, ask: _Ask
) -> None:
    wider = {**statement}
    for name, more in (("Action", action), ("Resource", resource)):
        if name in wider:
            wider[name] = [*wider[name], more]
    wider.pop("Condition", None)
    assert not allowed([*policy, statement], ask) or allowed([*policy, wider], ask)


@_few
@given(_policies, _policies, _asks)
def test_a_session_policy_never_allows_more(
    policy: list[Statement], session: list[Statement], ask: _Ask
) -> None:
    both = allowed(policy, ask, session)
    assert both == (allowed(policy, ask) and allowed(session, ask))
