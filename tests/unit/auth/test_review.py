"""What `lightwell iam check` finds, and what it does not mind."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from lightwell.auth.administration.review import Place, review
from lightwell.stores.account.principals import AccessKey
from lightwell.stores.account.roles import Role
from tests.unit.auth.policies.decisions import ACCOUNT, REGION

DAY = 86_400_000
NOW = 1_000 * DAY
PLACE = Place(ACCOUNT, REGION, "https://id.example.org")
NARROW = {"Effect": "Allow", "Action": "medical-imaging:Get*", "Resource": "*"}


def _policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


GOOD = AccessKey(
    "AKLW" + "A" * 16, "ana", b"", None, is_root=False, created_at=NOW - DAY, expires_at=NOW + DAY,
    revoked_at=None, policies=(_policy(NARROW),),
)  # fmt: skip


def _trust(principal: Any, action: str = "sts:AssumeRole", effect: str = "Allow") -> str:
    return _policy({"Effect": effect, "Principal": principal, "Action": action})


def _role(name: str, trust: str, *statements: dict[str, Any]) -> Role:
    return Role(name, trust, (_policy(*(statements or (NARROW,))),), 1, 1)


def _kinds(keys: list[AccessKey], roles: list[Role] | None = None) -> list[tuple[str, str]]:
    return [(each.kind, each.name) for each in review(keys, roles or [], NOW, PLACE)]


def test_minds_no_key_that_is_limited_used_and_ends_and_not_root() -> None:
    root = replace(GOOD, is_root=True, name="root", policies=None, expires_at=None, created_at=1)
    assert _kinds([GOOD, root]) == []


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({"created_at": NOW - 90 * DAY}, ["unused-key"]),
        ({"created_at": NOW - 90 * DAY + 1}, []),
        ({"created_at": 1, "last_used_at": NOW - 89 * DAY}, []),
        ({"created_at": 1, "last_used_at": NOW - 90 * DAY}, ["unused-key"]),
        ({"policies": None}, ["admin-key"]),
        ({"expires_at": None}, ["endless-key"]),
        ({"policies": None, "expires_at": None}, ["admin-key", "endless-key"]),
        # What is of no use to anybody can do no harm, but be forgotten.
        ({"policies": None, "expires_at": None, "disabled_at": 5}, []),
        ({"policies": None, "expires_at": NOW}, []),
        ({"created_at": 1, "policies": None, "disabled_at": 5}, ["unused-key"]),
    ],
)
def test_finds_keys(changes: dict[str, Any], kinds: list[str]) -> None:
    assert _kinds([replace(GOOD, **changes)]) == [(kind, "ana") for kind in kinds]


EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}
STORES = f"arn:aws:medical-imaging:{REGION}:{ACCOUNT}:datastore"


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        (EVERYTHING, "allows-everything"),
        ({**EVERYTHING, "Action": "medical-imaging:*"}, "allows-everything"),
        ({**EVERYTHING, "Action": ["Medical-Imaging:*", "sts:*"]}, "allows-everything"),
        ({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}, "allows-everything"),
        ({"Effect": "Allow", "Action": "*", "NotResource": f"{STORES}/none"}, "allows-everything"),
        ({**EVERYTHING, "Action": "iam:*"}, "gives-rights"),
        (
            {**EVERYTHING, "Action": "iam:PutRolePolicy", "Resource": f"arn:aws:iam::{ACCOUNT}:role/*"},
            "gives-rights",
        ),
        ({**EVERYTHING, "Resource": f"{STORES}/*"}, None),
        ({**EVERYTHING, "Effect": "Deny"}, None),
        ({**EVERYTHING, "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, None),
        ({**EVERYTHING, "Action": ["medical-imaging:Get*", "medical-imaging:List*"]}, None),
        (
            {**EVERYTHING, "Action": "iam:PutUserPolicy", "Resource": f"arn:aws:iam::{ACCOUNT}:user/team-*"},
            None,
        ),
        ({**EVERYTHING, "Strange": "x"}, None),
    ],
)
def test_finds_policies_of_keys_and_roles_that_allow_everything(
    statement: dict[str, Any], kind: str | None
) -> None:
    policies = (_policy(NARROW), _policy(NARROW, statement))
    found = review([replace(GOOD, policies=policies)], [], NOW, PLACE)
    assert [each.kind for each in found] == ([] if kind is None else [kind])
    assert all("statement 2 of policy 2" in each.says for each in found)
    everybody = _role("Reader", _trust({"AWS": ACCOUNT}), statement)
    assert _kinds([], [everybody]) == ([] if kind is None else [(kind, "Reader")])


ISSUER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/id.example.org"
WEB = "sts:AssumeRoleWithWebIdentity"


@pytest.mark.parametrize(
    ("trust", "is_reachable"),
    [
        (_trust({"AWS": ACCOUNT}), True),
        (_trust("*"), True),
        (_trust({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}), True),
        (_trust({"AWS": f"arn:aws:iam::{ACCOUNT}:user/ana"}), True),
        (_trust({"AWS": f"arn:aws:iam::{ACCOUNT}:user/bob"}), False),
        (_trust({"AWS": f"arn:aws:iam::{ACCOUNT}:user/gone"}), False),
        (_trust({"AWS": [f"arn:aws:iam::{ACCOUNT}:user/bob", f"arn:aws:iam::{ACCOUNT}:user/ana"]}), True),
        (_trust({"AWS": "111111111111"}), False),
        (_trust({"Service": "medical-imaging.amazonaws.com"}), True),
        (_trust({"Service": f"medical-imaging.{REGION}.amazonaws.com"}), True),
        (_trust({"Service": "ec2.amazonaws.com"}), False),
        (_trust({"Federated": ISSUER}, WEB), True),
        (_trust({"Federated": ISSUER}), False),
        (_trust({"Federated": f"{ISSUER}/other"}, WEB), False),
        (_trust({"AWS": ACCOUNT}, WEB), False),
        (_trust({"AWS": ACCOUNT}, effect="Deny"), False),
        (_trust({"AWS": f"arn:aws:iam::{ACCOUNT}:role/Taken"}), True),
        (_trust({"AWS": f"arn:aws:sts::{ACCOUNT}:assumed-role/Taken/me"}), True),
        (_trust({"AWS": f"arn:aws:iam::{ACCOUNT}:role/Lost"}), False),
        (_trust({"AWS": f"arn:aws:iam::{ACCOUNT}:role/None"}), False),
        (_trust({"AWS": f"arn:aws:iam::{ACCOUNT}:role/Asked"}), False),
        ("not a policy", False),
    ],
)
def test_finds_roles_that_nobody_can_take(trust: str, is_reachable: bool) -> None:
    gone = replace(GOOD, name="gone", expires_at=NOW)
    taken = _role("Taken", _trust({"AWS": f"arn:aws:iam::{ACCOUNT}:user/ana"}))
    lost = _role("Lost", _trust({"AWS": f"arn:aws:iam::{ACCOUNT}:user/nobody"}))
    found = _kinds([GOOD, gone], [_role("Asked", trust), lost, taken])
    assert (("untakeable-role", "Asked") not in found) is is_reachable
    assert ("untakeable-role", "Lost") in found and ("untakeable-role", "Taken") not in found


def test_trusts_no_provider_where_none_is_known() -> None:
    role = _role("Web", _trust({"Federated": ISSUER}, WEB))
    found = review([], [role], NOW, Place(ACCOUNT, REGION, None))
    assert [each.kind for each in found] == ["untakeable-role"]
