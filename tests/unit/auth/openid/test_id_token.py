"""Which tokens are genuine, meant for us and valid now, and what is said of all others."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from lightwell.auth.openid.errors import (
    ExpiredIdentityTokenError,
    InvalidIdentityTokenError,
    ProviderUnreachableError,
    RejectedClaimError,
)
from lightwell.auth.openid.id_token import CLOCK_SECONDS, LONGEST, TokenVerifier
from lightwell.auth.openid.provider import OpenIdProvider
from tests.unit.auth.openid.fake_provider import FakeProvider, fake_provider, key

NOW = 1_800_000_000_000


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProvider]:
    with fake_provider() as found:
        found.publish(key("one"))
        yield found


@pytest.fixture(scope="module")
def verifier(fake: FakeProvider) -> TokenVerifier:
    return TokenVerifier(OpenIdProvider(fake.issuer), frozenset(("console", "viewer")))


def test_tells_who_bears_a_token(fake: FakeProvider, verifier: TokenVerifier) -> None:
    found = verifier.verify(fake.token(key("one"), NOW, groups=["a"], azp="console"), NOW)
    assert (found.issuer, found.subject, found.audience) == (fake.issuer, "ana", "console")
    assert found.claims["groups"] == ["a"]
    # Unknown parts of the header do not matter, as RFC 7515 §4 has it.
    verifier.verify(fake.token(key("one"), NOW, {"nonce": "x", "typ": "JWT"}), NOW)
    verifier.verify(fake.token(key("one"), NOW, aud=["viewer", "other"], azp="viewer"), NOW)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "other"},
        {"aud": ...},
        {"aud": 7},
        {"aud": ["console", 7]},
        {"aud": []},
        {"aud": ["console", "other"]},  # for whom of them?
        {"aud": ["console", "other"], "azp": "other"},
        {"aud": "console", "azp": "other"},
        {"aud": "other", "azp": "console"},
        {"iss": "https://id.example.org"},
        {"iss": ...},
        {"exp": ...},
        {"exp": "soon"},
        {"exp": True},
        {"exp": 1e300},
        {"iat": ...},
        {"iat": NOW // 1000 + CLOCK_SECONDS + 1},
        {"nbf": NOW // 1000 + CLOCK_SECONDS + 1},
        {"nbf": "now"},
        {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
    ],
)
def test_refuses_claims(fake: FakeProvider, verifier: TokenVerifier, claims: dict[str, Any]) -> None:
    with pytest.raises(InvalidIdentityTokenError):
        verifier.verify(fake.token(key("one"), NOW, **claims), NOW)


@pytest.mark.parametrize("type", ["at+jwt", "logout+jwt", "application/at+jwt", "secevent+jwt", ""])
def test_refuses_tokens_for_something_else(fake: FakeProvider, verifier: TokenVerifier, type: str) -> None:
    with pytest.raises(InvalidIdentityTokenError):
        verifier.verify(fake.token(key("one"), NOW, {"typ": type}), NOW)


@pytest.mark.parametrize("subject", [..., "", 7, None, "x" * 256, "a\0b"])
def test_wants_to_know_whose_a_token_is(fake: FakeProvider, verifier: TokenVerifier, subject: Any) -> None:
    with pytest.raises(RejectedClaimError):
        verifier.verify(fake.token(key("one"), NOW, sub=subject), NOW)


def test_tells_when_a_token_has_expired(fake: FakeProvider, verifier: TokenVerifier) -> None:
    token = fake.token(key("one"), NOW)
    verifier.verify(token, NOW + 599_999)
    with pytest.raises(ExpiredIdentityTokenError):
        verifier.verify(token, NOW + 600_000)
    lenient = TokenVerifier(OpenIdProvider(fake.issuer), frozenset(("console",)), leeway=30)
    lenient.verify(token, NOW + 629_000)
    with pytest.raises(ExpiredIdentityTokenError):
        lenient.verify(token, NOW + 630_000)
    # The provider's clock may be ahead a little.
    verifier.verify(fake.token(key("one"), NOW + CLOCK_SECONDS * 1000), NOW)


def test_refuses_what_the_provider_has_not_signed(fake: FakeProvider, verifier: TokenVerifier) -> None:
    good = fake.token(key("one"), NOW)
    header, payload, signature = good.split(".")
    public = json.dumps(key("one").as_dict(private=False)).encode()
    twice = (
        base64.urlsafe_b64encode(b'{"iss": "x", "iss": "' + fake.issuer.encode() + b'"}').decode().rstrip("=")
    )
    mixed_up = jwt.encode(
        {"alg": "HS256"}, {"iss": fake.issuer}, OctKey.import_key(public), algorithms=["HS256"]
    )
    curve = ECKey.generate_key("P-256", {"kid": "one"})
    for token in (
        f"{header}.{payload}.{signature[:-4]}AAAA",
        f"{header}.{twice}.{signature}",
        f"{header}.{payload}.",
        f"{header}.{payload}",
        f"{good}.{signature}.{signature}",  # encrypted tokens have five parts
        mixed_up,
        fake.token(key("two"), NOW, {"kid": "one"}),
        fake.token(key("two"), NOW, {"jwk": key("two").as_dict(private=False)}),
        fake.token(key("two"), NOW, {"alg": "PS256", "kid": "one"}),
        jwt.encode({"alg": "ES256", "kid": "one"}, {"iss": fake.issuer}, curve),
        "\ud800.a.b",
        good + "\n",
        "a" * LONGEST + ".a.a",
        "",
    ):
        with pytest.raises(InvalidIdentityTokenError):
            verifier.verify(token, NOW)


def test_asks_for_new_keys_where_a_token_names_one(
    fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightwell.auth.openid.provider.AGAIN_SECONDS", 0.0)
    fake.publish(key("one"))
    verifier = TokenVerifier(OpenIdProvider(fake.issuer), frozenset(("console",)))
    verifier.verify(fake.token(key("one"), NOW), NOW)
    fake.publish(key("two"))
    verifier.verify(fake.token(key("two"), NOW), NOW)
    with pytest.raises(InvalidIdentityTokenError):
        verifier.verify(fake.token(key("one"), NOW), NOW)
    # While the provider is away, nobody knows whether a token of a new key is one of its own.
    fake.answers.clear()
    verifier.verify(fake.token(key("two"), NOW), NOW)
    with pytest.raises(ProviderUnreachableError):
        verifier.verify(fake.token(key("one"), NOW), NOW)
    fake.publish(key("one"))


def test_does_not_let_bad_tokens_flood_the_provider(fake: FakeProvider) -> None:
    fake.publish(key("one"))
    verifier = TokenVerifier(OpenIdProvider(fake.issuer), frozenset(("console",)))
    verifier.verify(fake.token(key("one"), NOW), NOW)
    fake.asked.clear()
    for number in range(20):
        with pytest.raises(InvalidIdentityTokenError):
            verifier.verify(fake.token(key("two"), NOW, {"kid": f"k{number}"}), NOW)
    assert fake.asked == []
