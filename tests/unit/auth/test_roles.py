"""Who may take a role, and who one is then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lightwell.auth.policies.policy import permissions
from lightwell.auth.principal_context import session_subject, user_subject
from lightwell.auth.principals import FRESH_MS, Principal
from lightwell.auth.roles import FOREIGN, MISSING, TRUST, RoleError, Roles
from lightwell.stores.account import roles as table
from lightwell.stores.db.database import Database
from tests.unit.auth.policies.decisions import ACCOUNT, GET, REGION, STORE, allow, on

SERVICE = "medical-imaging.amazonaws.com"
ARN = f"arn:aws:iam::{ACCOUNT}:role/Reader"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ANA = f"arn:aws:iam::{ACCOUNT}:user/ana"


@pytest.fixture
def db(migrated_sqlite_url: str) -> Iterator[Database]:
    db = Database(migrated_sqlite_url)
    yield db
    db.close()


def trust(principal: Any, effect: str = "Allow", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Principal": principal, "Action": "sts:AssumeRole", **more}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def put(db: Database, *statements: dict[str, Any], now: int = 0) -> Roles:
    policies = [document(allow(GET, STORE))]
    db.write(lambda conn: table.put(conn, "Reader", document(*statements), policies, now))
    return Roles(db, ACCOUNT, REGION)


def user(name: str = "ana") -> Principal:
    policies = permissions([document(allow())], user_subject(ACCOUNT, REGION, name))
    return Principal("k" * 20, f"arn:aws:iam::{ACCOUNT}:user/{name}", "s", None, None, policies)


def kind(roles: Roles, arn: str = ARN, **who: Any) -> str | None:
    """Why the role cannot be taken; None if it can."""
    try:
        roles.assume(arn, session="me", now=0, **(who or {"service": SERVICE}))
    except RoleError as error:
        return error.kind
    return None


def test_lets_a_service_take_a_role(db: Database) -> None:
    taken = put(db, trust({"Service": SERVICE})).assume(ARN, session="viewer", now=7, service=SERVICE)
    assert taken.arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/Reader/viewer"
    assert (taken.access_key_id, taken.role, taken.expires_at, taken.issued_at) == ("", "Reader", None, 7)
    assert taken.policies is not None
    assert taken.policies.decide(GET, STORE, {}).allowed
    assert not taken.policies.decide(GET, STORE + "/x", {}).allowed
    assert taken.policies.subject == session_subject(ACCOUNT, REGION, "Reader", "viewer")
    assert taken.policies.subject["aws:principalarn"] == ARN


def test_narrows_a_role_by_session_policies(db: Database) -> None:
    roles = put(db, trust({"Service": SERVICE}))
    taken = roles.assume(ARN, session="me", now=0, service=SERVICE, session_policies=[document()])
    assert taken.policies is not None
    assert not taken.policies.decide(GET, STORE, {}).allowed


@pytest.mark.parametrize(
    ("arn", "why"),
    [
        (f"arn:aws:iam::{ACCOUNT}:role/Nobody", MISSING),
        ("arn:aws:iam::111111111111:role/Reader", FOREIGN),
        (f"arn:aws:iam::{ACCOUNT}:role/path/Reader", MISSING),
        (f"arn:aws-cn:iam::{ACCOUNT}:role/Reader", MISSING),
        (f"arn:aws:iam::{ACCOUNT}:user/Reader", MISSING),
        ("Reader", MISSING),
        ("", MISSING),
        (ARN + "\n", MISSING),
    ],
)
def test_says_why_there_is_no_role(db: Database, arn: str, why: str) -> None:
    assert kind(put(db, trust({"Service": SERVICE})), arn) == why


@pytest.mark.parametrize(
    ("statements", "who", "expected"),
    [
        ([trust({"Service": SERVICE})], SERVICE, None),
        ([trust({"Service": f"medical-imaging.{REGION}.amazonaws.com"})], SERVICE, None),
        ([trust({"Service": "medical-imaging.eu-west-1.amazonaws.com"})], SERVICE, TRUST),
        ([trust({"Service": ["ec2.amazonaws.com", SERVICE]})], SERVICE, None),
        ([trust({"Service": "ec2.amazonaws.com"})], SERVICE, TRUST),
        ([trust({"AWS": "*"})], SERVICE, TRUST),
        ([trust("*")], SERVICE, TRUST),
        ([trust({"Service": SERVICE}, Action="sts:*")], SERVICE, None),
        ([trust({"Service": SERVICE}, Action="sts:TagSession")], SERVICE, TRUST),
        ([trust({"Service": SERVICE}), trust({"Service": SERVICE}, "Deny")], SERVICE, TRUST),
        ([trust({"Service": SERVICE}, Moon="full")], SERVICE, TRUST),
        ([trust({"Service": SERVICE}), trust("*", "Deny", Moon="full")], SERVICE, TRUST),
        ([trust({"Service": SERVICE}), {"Effect": "Allow", "Action": "*"}], SERVICE, TRUST),
        (
            [trust({"Service": SERVICE}, Condition=on("StringEquals", "aws:SourceAccount", ACCOUNT))],
            SERVICE,
            None,
        ),
        ([trust({"Service": SERVICE}, Condition=on("ArnLike", "aws:SourceArn", STORE))], SERVICE, TRUST),
        ([trust({"AWS": ACCOUNT})], "ana", None),
        ([trust({"AWS": ROOT})], "ana", None),
        ([trust({"AWS": "*"})], "ana", None),
        ([trust("*")], "ana", None),
        ([trust({"AWS": ANA})], "ana", None),
        ([trust({"AWS": ANA})], "eve", TRUST),
        ([trust({"AWS": "111111111111"})], "ana", TRUST),
        ([trust({"Service": SERVICE})], "ana", TRUST),
        ([trust({"AWS": ACCOUNT}), trust({"AWS": ANA}, "Deny")], "ana", TRUST),
        ([trust({"AWS": ACCOUNT}), trust({"AWS": ANA}, "Deny")], "eve", None),
        ([trust({"AWS": ACCOUNT}, Condition=on("StringEquals", "aws:username", "ana"))], "ana", None),
        ([trust({"AWS": ACCOUNT}, Condition=on("StringEquals", "sts:RoleSessionName", "me"))], "ana", None),
        ([trust({"AWS": ACCOUNT}, Condition=on("StringEquals", "sts:ExternalId", "x"))], "ana", TRUST),
        ([trust({"AWS": ACCOUNT}, Condition=on("StringEquals", "aws:Moon", "full"))], "ana", TRUST),
        ([], "ana", TRUST),
    ],
)
def test_trusts(db: Database, statements: list[dict[str, Any]], who: str, expected: str | None) -> None:
    roles = put(db, *statements)
    taker = {"service": who} if "." in who else {"principal": user(who)}
    assert kind(roles, **taker) == expected


def test_knows_the_role_behind_a_session(db: Database) -> None:
    roles = put(db, trust({"AWS": f"arn:aws:iam::{ACCOUNT}:role/Other"}))
    role = table.Role("Other", document(), (), 0, 0)
    assert kind(roles, principal=roles.session(role, "me", 0)) is None
    assert kind(roles, principal=user("Other")) == TRUST


def test_tells_the_trust_policy_for_whom_a_service_comes(db: Database) -> None:
    roles = put(db, trust({"Service": SERVICE}, Condition=on("ArnLike", "aws:SourceArn", STORE)))
    assert kind(roles, service=SERVICE, source_arn=STORE) is None
    assert kind(roles, service=SERVICE, source_arn=STORE + "x") == TRUST


def test_sees_a_change_of_a_role_soon(db: Database) -> None:
    roles = put(db, trust({"Service": SERVICE}))
    assert not roles.fresh(ARN, 0)
    roles.assume(ARN, session="me", now=0, service=SERVICE)
    assert roles.fresh(ARN, FRESH_MS - 1)
    db.write(lambda conn: table.remove(conn, "Reader"))
    roles.assume(ARN, session="me", now=FRESH_MS - 1, service=SERVICE)
    with pytest.raises(RoleError):
        roles.assume(ARN, session="me", now=FRESH_MS, service=SERVICE)


def test_keeps_a_role_by_its_name(db: Database) -> None:
    put(db, trust({"AWS": ACCOUNT}), now=1)
    put(db, trust({"Service": SERVICE}), now=2)
    with db.read() as conn:
        (role,) = table.page(conn)
    assert (role.name, role.created_at, role.updated_at) == ("Reader", 1, 2)
    assert "Service" in role.trust_policy
    assert not db.write(lambda conn: table.remove(conn, "reader"))
