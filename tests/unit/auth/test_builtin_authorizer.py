"""Tokens of the server's own authorizer: what it signs, and everything that it refuses."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from lightwell.auth.bearer_token import Token, read_token
from lightwell.auth.builtin_authorizer import BuiltinAuthorizer, TokenRequest
from lightwell.auth.principals import Principal
from lightwell.auth.secret_box import SecretBox
from lightwell.domain.arn import datastore_arn
from lightwell.errors import AccessDeniedError, ConfigurationError

ACCOUNT, REGION = "000000000000", "us-east-1"
NOW = 1_800_000_000_123
STORE, OTHER = "a" * 32, "b" * 32
ARN = datastore_arn(REGION, ACCOUNT, STORE)
SECRET = bytes(range(32))
REQUEST = TokenRequest(STORE, 7, "alice", 3600, may_store=False, now=NOW)


@pytest.fixture
def authorizer() -> BuiltinAuthorizer:
    return BuiltinAuthorizer(SecretBox(SECRET, "here"), REGION, ACCOUNT)


def read(text: str, now: int = NOW + 1000) -> Token:
    return read_token([(b"authorization", b"Bearer " + text.encode())], now)


def accepted(authorizer: BuiltinAuthorizer, text: str, now: int = NOW + 1000, **more: Any) -> Principal:
    """The principal of a request with this token."""
    arguments = {"datastore": ARN, "revision": 7, **more}
    return authorizer.principal(read(text, now), now=now, **arguments)


def claims_of(text: str) -> dict[str, Any]:
    part = text.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


def allows(principal: Principal, action: str, resource: str = ARN) -> bool:
    assert principal.policies is not None
    return principal.policies.decide(f"medical-imaging:{action}", resource, {}).allowed


def test_lets_its_bearer_read_one_data_store(authorizer: BuiltinAuthorizer) -> None:
    principal = accepted(authorizer, authorizer.mint(REQUEST))
    assert principal.arn == f"arn:aws:sts::{ACCOUNT}:federated-user/alice"
    for action in ("GetDICOMInstanceFrames", "SearchDICOMStudies", "GetDICOMBulkdata"):
        assert allows(principal, action)
        assert allows(principal, action, f"{ARN}/imageset/{'c' * 32}")
        assert not allows(principal, action, datastore_arn(REGION, ACCOUNT, OTHER))
        assert not allows(principal, action, ARN + "x")
    for action in ("StoreDICOM", "StoreDICOMStudy", "DeleteImageSet", "DeleteDatastore", "GetImageFrame"):
        assert not allows(principal, action)


def test_lets_its_bearer_store_only_if_the_token_says_so(authorizer: BuiltinAuthorizer) -> None:
    principal = accepted(authorizer, authorizer.mint(replace(REQUEST, may_store=True)))
    assert allows(principal, "StoreDICOM") and allows(principal, "StoreDICOMStudy")
    assert allows(principal, "SearchDICOMStudies")
    assert not allows(principal, "DeleteImageSet") and not allows(principal, "UpdateImageSetMetadata")


def test_holds_no_secret(authorizer: BuiltinAuthorizer) -> None:
    claims = claims_of(authorizer.mint(REQUEST))
    assert set(claims) == {"iss", "aud", "sub", "iat", "nbf", "exp", "scope", "revision"}
    assert claims["exp"] - claims["iat"] == 3600 and claims["iat"] == NOW // 1000


def test_refuses_other_data_stores_and_what_was_withdrawn(authorizer: BuiltinAuthorizer) -> None:
    text = authorizer.mint(REQUEST)
    for more in ({"datastore": datastore_arn(REGION, ACCOUNT, OTHER)}, {"revision": 8}, {"revision": 6}):
        with pytest.raises(AccessDeniedError, match="Invalid or Expired Token"):
            accepted(authorizer, text, **more)


@pytest.mark.parametrize("later", [-1000, 3600_000, 13 * 3600_000])
def test_refuses_what_is_not_valid_now(authorizer: BuiltinAuthorizer, later: int) -> None:
    with pytest.raises(AccessDeniedError):
        accepted(authorizer, authorizer.mint(REQUEST), NOW + later)


def test_refuses_every_other_key(authorizer: BuiltinAuthorizer) -> None:
    for other in (
        BuiltinAuthorizer(SecretBox(bytes(32), "there"), REGION, ACCOUNT),
        BuiltinAuthorizer(SecretBox(SECRET, "here"), "eu-west-1", ACCOUNT),
        BuiltinAuthorizer(SecretBox(SECRET, "here"), REGION, "000000000001"),
    ):
        with pytest.raises(AccessDeniedError):
            accepted(authorizer, other.mint(REQUEST))


def test_refuses_what_was_altered(authorizer: BuiltinAuthorizer) -> None:
    header, payload, signature = authorizer.mint(REQUEST).split(".")
    more = claims_of(f"{header}.{payload}.x") | {"scope": "read store"}
    forged = base64.urlsafe_b64encode(json.dumps(more).encode()).rstrip(b"=").decode()
    swapped = signature[:-5] + ("AAAAA" if not signature.endswith("AAAAA") else "BBBBB")
    for text in (f"{header}.{forged}.{signature}", f"{header}.{payload}.{swapped}", f"{header}.{payload}.AA"):
        with pytest.raises(AccessDeniedError):
            accepted(authorizer, text)


def test_refuses_other_algorithms(authorizer: BuiltinAuthorizer) -> None:
    claims = claims_of(authorizer.mint(REQUEST))
    right = OctKey.import_key(SecretBox(SECRET, "here").derive("lightwell built-in authorizer"))
    assert accepted(authorizer, jwt.encode({"alg": "HS256"}, claims, right)).arn.endswith("/alice")
    texts = [
        jwt.encode({"alg": "HS512"}, claims, right, algorithms=["HS512"]),
        jwt.encode({"alg": "RS256"}, claims, RSAKey.generate_key(2048), algorithms=["RS256"]),
        jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SECRET)),
    ]
    bare = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    texts += [f"{bare}.{texts[0].split('.')[1]}.{part}" for part in ("", "AA", texts[0].split(".")[2])]
    for text in texts:
        with pytest.raises(AccessDeniedError):
            accepted(authorizer, text)


@pytest.mark.parametrize(
    "changed",
    [{"scope": ""}, {"scope": ["read"]}, {"scope": "admin"}, {"aud": [ARN]}, {"iss": "x"}, {"revision": "7"}],
)
def test_refuses_claims_that_it_never_writes(authorizer: BuiltinAuthorizer, changed: dict[str, Any]) -> None:
    right = OctKey.import_key(SecretBox(SECRET, "here").derive("lightwell built-in authorizer"))
    claims = claims_of(authorizer.mint(REQUEST)) | changed
    with pytest.raises(AccessDeniedError):
        accepted(authorizer, jwt.encode({"alg": "HS256"}, claims, right))


@pytest.mark.parametrize("seconds", [0, -1, 12 * 3600 + 1])
def test_mints_nothing_that_servers_refuse(authorizer: BuiltinAuthorizer, seconds: int) -> None:
    with pytest.raises(ConfigurationError, match="12 hours"):
        authorizer.mint(replace(REQUEST, seconds=seconds))
    longest = authorizer.mint(replace(REQUEST, seconds=12 * 3600))
    assert accepted(authorizer, longest, NOW + 12 * 3600_000 - 2000).arn.endswith("/alice")
