"""What is on record of whoever was proved, and refused all the same; and of those whom a token stands for."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import urlencode

import pytest

from lightwell.auth.bearer_token import invalid_token
from lightwell.auth.lambda_authorizer import denied
from lightwell.auth.openid.errors import InvalidIdentityTokenError
from lightwell.auth.policies.policy import digest
from lightwell.auth.roles import WebIdentity
from lightwell.errors import ThrottlingError
from lightwell.observe.audit.record import AuditRecord
from lightwell.stores.account import roles
from lightwell.web.requests.request import BODY_LIMIT
from lightwell.web.requests.state import AppState
from tests.imports.audit.world import JSON, ROOT_ARN, SERIES, World, members, of
from tests.unit.web.audit.audited import Answer, ask, signed

ISSUER, ADA = "https://id.example.org", "ada@example.org"
PROVIDER = "arn:aws:iam::000000000000:oidc-provider/id.example.org"
ARN = "arn:aws:iam::000000000000:role/{}".format
FORM = {"content_type": "application/x-www-form-urlencoded"}
WEB_IDENTITY = "AssumeRoleWithWebIdentity"
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


@pytest.fixture
def ada(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token ``ada`` is genuine, as a provider would say."""

    async def verify(token: str, now: int) -> WebIdentity:
        if token != "ada":
            raise InvalidIdentityTokenError("The token is not genuine.")
        return WebIdentity(ISSUER, ADA, "lightwell", {"aud": "lightwell"})

    monkeypatch.setattr(world.trail.gateway.state.federation, "verify", verify)


def put_role(world: World, name: str, *statements: dict[str, Any]) -> str:
    """Returns the digest of its trust policy."""
    trust = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    role = {"trustPolicy": trust, "policies": [json.dumps(EVERYTHING)]}
    answer, _ = world.ask("PUT", f"/console/api/roles/{name}", role, **JSON)
    assert answer.status == 200, answer.body
    with world.trail.gateway.state.stores.db.read() as conn:
        kept = roles.get(conn, name)
    assert kept is not None
    return digest(kept.trust_policy)


def take(world: World, role: str, token: str = "ada", **more: str) -> tuple[Answer, AuditRecord]:
    given = {"Action": WEB_IDENTITY, "RoleArn": role, "RoleSessionName": "me", "WebIdentityToken": token}
    scope = signed(None, "POST", "/", urlencode(given | more).encode(), **FORM)
    answer = ask(world.trail.gateway, scope)
    (record,) = world.trail.after(answer)
    return answer, record


@pytest.mark.usefixtures("ada")
def test_who_takes_a_role_with_a_token_or_is_refused_it_is_on_record_with_the_statement(world: World) -> None:
    people = {"Effect": "Allow", "Principal": {"Federated": PROVIDER}, "Action": f"sts:{WEB_IDENTITY}"}
    keys = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    open_to_all = put_role(world, "ForPeople", keys, {"Sid": "People", **people})
    shut = put_role(world, "Shut", people, {**people, "Sid": "Nobody", "Effect": "Deny"})
    put_role(world, "ForKeys", keys)
    asked = {
        "ForPeople": (200, None, "statement 2 (People) of the trust policy", open_to_all),
        "Shut": (403, "AccessDenied", "statement 2 (Nobody) of the trust policy", shut),
        "ForKeys": (403, "AccessDenied", "no statement of the trust policy", None),
        "NoSuchRole": (403, "AccessDenied", None, None),
    }
    for role, (status, error, by, policy) in asked.items():
        answer, record = take(world, ARN(role))
        assert answer.status == status, answer.body
        expected = {
            "via": "sts", "operation": WEB_IDENTITY, "kind": "access", "subject": ADA, "provider": ISSUER,
            "items": (ARN(role),), "status": status, "error": error, "by": by, "policy": policy, "count": 0,
        }  # fmt: skip
        assert members(record, expected) == expected
        taken = "arn:aws:sts::000000000000:assumed-role/ForPeople/me"
        assert record.who == (taken if status == 200 else None)
    # So is one who is refused for something else.
    answer, record = take(world, ARN("ForPeople"), DurationSeconds="1")
    assert (answer.status, record.subject, record.status) == (400, ADA, 400)
    # A token that is not genuine names nobody.
    answer, record = take(world, ARN("ForPeople"), "forged")
    assert (answer.status, record.kind, record.subject, record.count) == (400, "security", None, 1)


@pytest.mark.usefixtures("ada")
def test_who_asks_for_the_roles_of_a_token_is_on_record(world: World) -> None:
    body = json.dumps({"token": "ada"}).encode()
    answer = ask(world.trail.gateway, signed(None, "POST", "/console/api/oidc/roles", body, **JSON))
    (record,) = world.trail.after(answer)
    expected = {
        "via": "console", "operation": "ConsoleListRolesOfToken", "subject": ADA, "provider": ISSUER,
        "status": 200, "found": len(json.loads(answer.body)["roles"]),
    }  # fmt: skip
    assert members(record, expected) == expected


def test_who_takes_a_role_with_a_key_is_on_record_with_both_statements(world: World) -> None:
    trusted = {"Sid": "Users", "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    trust = put_role(world, "ForUsers", trusted)
    put_role(world, "ForNobody", {**trusted, "Effect": "Deny"})
    policy = json.dumps(EVERYTHING)
    bob = world.secret_of("bob-of-roles", policy)
    for role, status, by, policies in (
        ("ForUsers", 200, "statement 1 of policy; statement 1 (Users) of the trust policy", digest(policy)),
        ("ForNobody", 403, "statement 1 (Users) of the trust policy", None),
    ):
        given = {"Action": "AssumeRole", "RoleArn": ARN(role), "RoleSessionName": "me"}
        answer, (record,) = world.ask("POST", "/", urlencode(given).encode(), bob, service="sts", **FORM)
        assert answer.status == status, answer.body
        assert (record.by, record.items) == (by, (ARN(role),))
        if policies is not None:
            assert record.policy == f"{policies}; {trust}"


def by_bearer(world: World, token: str, method: str = "GET", body: bytes = b"") -> AuditRecord:
    url = f"/datastore/{world.store}/studies" + ("/1.2" if method == "DELETE" else "")
    answer = ask(world.trail.gateway, signed(None, method, url, body, authorization=f"Bearer {token}"))
    (record,) = world.trail.after(answer)
    assert record.status == answer.status
    return record


def limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(state: AppState, principal: object) -> None:
        raise ThrottlingError("Rate exceeded", retry_after=1)

    monkeypatch.setattr(world.trail.gateway.state, "limits_callers", True)
    monkeypatch.setattr(AppState, "limit_caller", refuse)


def test_a_bearer_who_is_proved_is_on_record_whatever_refuses_the_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, _ = world.ask("POST", f"/console/api/datastores/{world.store}/viewer-token", {}, **JSON)
    token = json.loads(answer.body)["token"]
    assert by_bearer(world, token).status == 200
    # Too long a body, an operation that is not for viewers, too many requests.
    asked = {
        413: ("GET", b"x" * (BODY_LIMIT + 1), "SearchDICOMStudies", "search"),
        403: ("DELETE", b"", "DeleteImageSet", "change"),
        429: ("GET", b"", "SearchDICOMStudies", "search"),
    }
    for status, (method, body, operation, kind) in asked.items():
        if status == 429:
            limit(world, monkeypatch)
        record = by_bearer(world, token, method, body)
        expected = {
            "status": status, "who": ROOT_ARN, "operation": operation, "kind": kind, "via": "dicomweb",
            "store": world.store, "count": 0, "emergency": False,
        }  # fmt: skip
        assert members(record, expected) == expected


@pytest.mark.parametrize("is_token_valid", [True, False])
def test_a_bearer_without_a_role_is_on_record_if_the_authorizer_vouches_for_the_token(
    world: World, monkeypatch: pytest.MonkeyPatch, *, is_token_valid: bool
) -> None:
    async def principal(*given: object, **more: object) -> None:
        raise denied() if is_token_valid else invalid_token()

    monkeypatch.setattr(world.trail.gateway.state.bearer_authentication, "principal", principal)
    claims = json.dumps({"exp": 2_000_000_000, "iat": 1, "sub": ADA}).encode()
    record = by_bearer(world, f"e30.{urlsafe_b64encode(claims).decode()}.x")
    assert record.status == 403
    assert (record.who, record.operation) == (None, "SearchDICOMStudies")
    told = ("search", ADA, 0) if is_token_valid else ("security", None, 1)
    assert (record.kind, record.subject, record.count) == told


def test_a_signed_request_that_is_refused_before_it_is_read_says_what_it_was_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, long = (
        f"/datastore/{world.store}/imageSet/{world.sets[SERIES]}/getImageFrame",
        b"x" * (BODY_LIMIT + 1),
    )
    # The hash of the body is stated, so it is proved before the body is read.
    answer, (record,) = world.ask("POST", url, long, x_amz_content_sha256="UNSIGNED-PAYLOAD")
    store = {"store": world.store, "image_set": of(world)["image_set"], "operation": "GetImageFrame"}
    expected = {"status": 413, "who": ROOT_ARN, "kind": "read", **store}
    assert answer.status == 413 and members(record, expected) == expected
    # It is not: then nobody is proved, and the key that it claims is counted.
    answer, (record,) = world.ask("POST", url, long)
    expected = {"status": 413, "who": None, "kind": "security", "claimed": world.root.access_key, "count": 1}
    assert answer.status == 413 and members(record, expected) == expected
    limit(world, monkeypatch)
    for place, operation, kind in (
        (url, "GetImageFrame", "read"),
        (f"/datastore/{world.store}", "GetDatastore", "system"),
        ("/console/api/keys", "ConsoleListKeys", "access"),
    ):
        answer, (record,) = world.ask("POST" if place == url else "GET", place)
        assert answer.status == 429
        assert (record.operation, record.kind, record.who) == (operation, kind, ROOT_ARN)
