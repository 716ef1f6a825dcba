"""Who may assume a role, and what principal that makes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lightwell.auth.policies.policy import permissions
from lightwell.auth.principal_context import session_context, user_context
from lightwell.auth.principals import Principal
from lightwell.auth.roles import RoleError, Roles, ServicePrincipal
from lightwell.domain.recent import FRESH_MS
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
    policies = permissions([document(allow())], user_context(ACCOUNT, REGION, name))
    return Principal("k" * 20, f"arn:aws:iam::{ACCOUNT}:user/{name}", "s", None, None, policies)


HEALTH_IMAGING = ServicePrincipal(SERVICE)


def kind(roles: Roles, caller: Principal | ServicePrincipal = HEALTH_IMAGING, arn: str = ARN) -> str | None:
    """Why the role cannot be session; None if it can."""
    try:
        roles.assume(arn, caller, session="me", now=0)
    except RoleError as error:
        return error.kind
    return None


def test_lets_a_service_assume_a_role(db: Database) -> None:
    session = (
        put(db, trust({"Service": SERVICE})).assume(ARN, HEALTH_IMAGING, session="viewer", now=7).principal
    )
    assert session.arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/Reader/viewer"
    assert (session.access_key_id, session.role, session.expires_at, session.issued_at) == (
        "",
        "Reader",
        None,
        7,
    )
    assert session.policies is not None
    assert session.policies.decide(GET, STORE, {}).allowed
    assert not session.policies.decide(GET, STORE + "/x", {}).allowed
    assert session.policies.principal_context == session_context(ACCOUNT, REGION, "Reader", "viewer")
    assert session.policies.principal_context["aws:principalarn"] == ARN


def test_narrows_a_role_by_session_policies(db: Database) -> None:
    roles = put(db, trust({"Service": SERVICE}))
    session = roles.assume(ARN, HEALTH_IMAGING, session="me", now=0, session_policies=[document()]).principal
    assert session.policies is not None
    assert not session.policies.decide(GET, STORE, {}).allowed


@pytest.mark.parametrize(
    ("arn", "why"),
    [
        (f"arn:aws:iam::{ACCOUNT}:role/Nobody", "missing"),
        ("arn:aws:iam::111111111111:role/Reader", "foreign"),
        (f"arn:aws:iam::{ACCOUNT}:role/path/Reader", "missing"),
        (f"arn:aws-cn:iam::{ACCOUNT}:role/Reader", "missing"),
        (f"arn:aws:iam::{ACCOUNT}:user/Reader", "missing"),
        ("Reader", "missing"),
        ("", "missing"),
        (ARN + "\n", "missing"),
    ],
)
def test_says_why_there_is_no_role(db: Database, arn: str, why: str) -> None:
    assert kind(put(db, trust({"Service": SERVICE})), arn=arn) == why


@pytest.mark.parametrize(
    ("statements", "who", "expected"),
    [
        ([trust({"Service": SERVICE})], SERVICE, None),
        ([trust({"Service": f"medical-imaging.{REGION}.amazonaws.com"})], SERVICE, None),
        ([trust({"Service": "medical-imaging.eu-west-1.amazonaws.com"})], SERVICE, "trust"),
        ([trust({"Service": ["ec2.amazonaws.com", SERVICE]})], SERVICE, None),
        ([trust({"Service": "ec2.amazonaws.com"})], SERVICE, "trust"),
        ([trust({"AWS": "*"})], SERVICE, "trust"),
        ([trust("*")], SERVICE, "trust"),
        ([trust({"Service": SERVICE}, Action="sts:*")], SERVICE, None),
        ([trust({"Service": SERVICE}, Action="sts:TagSession")], SERVICE, "trust"),
        ([trust({"Service": SERVICE}), trust({"Service": SERVICE}, "Deny")], SERVICE, "trust"),
        ([trust({"Service": SERVICE}, Moon="full")], SERVICE, "trust"),
        ([trust({"Service": SERVICE}), trust("*", "Deny", Moon="full")], SERVICE, "trust"),
        ([trust({"Service": SERVICE}), {"Effect": "Allow", "Action": "*"}], SERVICE, "trust"),
        (
            [trust({"Service": SERVICE}, Condition=on("StringEquals", "aws:SourceAccount", ACCOUNT))],
            SERVICE,
            None,
        ),
        ([trust({"Service": SERVICE}, Condition=on("ArnLike", "aws:SourceArn", STORE))], SERVICE, "trust"),
        ([trust({"AWS": ACCOUNT})], "ana", None),
        ([trust({"AWS": ROOT})], "ana", None),
        ([trust({"AWS": "*"})], "ana", None),
        ([trust("*")], "ana", None),
        ([trust({"AWS": ANA})], "ana", None),
        ([trust({"AWS": ANA})], "eve", "trust"),
        ([trust({"AWS": "111111111111"})], "ana", "trust"),
        ([trust({"Service": SERVICE})], "ana", "trust"),
        ([trust({"AWS": ACCOUNT}), trust({"AWS": ANA}, "Deny")], "ana", "trust"),
        ([trust({"AWS": ACCOUNT}), trust({"AWS": ANA}, "Deny")], "eve", None),
        ([trust({"AWS": ACCOUNT}, Condition=on("StringEquals", "aws:username", "ana"))], "ana", None),
        ([trust({"AWS": ACCOUNT}, Condition=on("StringEquals", "sts:RoleSessionName", "me"))], "ana", None),
        ([trust({"AWS": ACCOUNT}, Condition=on("StringEquals", "sts:ExternalId", "x"))], "ana", "trust"),
        ([trust({"AWS": ACCOUNT}, Condition=on("StringEquals", "aws:Moon", "full"))], "ana", "trust"),
        ([], "ana", "trust"),
    ],
)
def test_trusts(db: Database, statements: list[dict[str, Any]], who: str, expected: str | None) -> None:
    roles = put(db, *statements)
    assert kind(roles, ServicePrincipal(who) if "." in who else user(who)) == expected


def test_trusts_the_role_behind_a_session(db: Database) -> None:
    roles = put(db, trust({"AWS": f"arn:aws:iam::{ACCOUNT}:role/Other"}))
    role = table.Role("Other", document(), (), 0, 0)
    assert kind(roles, roles.session(role, "me", 0)) is None
    assert kind(roles, user("Other")) == "trust"


def test_passes_the_source_arn_of_a_service_to_the_trust_policy(db: Database) -> None:
    roles = put(db, trust({"Service": SERVICE}, Condition=on("ArnLike", "aws:SourceArn", STORE)))
    assert kind(roles, ServicePrincipal(SERVICE, STORE)) is None
    assert kind(roles, ServicePrincipal(SERVICE, STORE + "x")) == "trust"


def test_sees_a_change_of_a_role_soon(db: Database) -> None:
    roles = put(db, trust({"Service": SERVICE}))
    assert not roles.is_cached(ARN, 0)
    roles.assume(ARN, HEALTH_IMAGING, session="me", now=0)
    assert roles.is_cached(ARN, FRESH_MS - 1)
    db.write(lambda conn: table.remove(conn, "Reader"))
    roles.assume(ARN, HEALTH_IMAGING, session="me", now=FRESH_MS - 1)
    with pytest.raises(RoleError):
        roles.assume(ARN, HEALTH_IMAGING, session="me", now=FRESH_MS)


def test_keeps_a_role_by_its_name(db: Database) -> None:
    put(db, trust({"AWS": ACCOUNT}), now=1)
    put(db, trust({"Service": SERVICE}), now=2)
    with db.read() as conn:
        (role,) = table.page(conn)
    assert (role.name, role.created_at, role.updated_at) == ("Reader", 1, 2)
    assert "Service" in role.trust_policy
    assert not db.write(lambda conn: table.remove(conn, "reader"))
