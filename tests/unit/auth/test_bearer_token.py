"""Bearer tokens by a clock that stands still."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lightwell.auth.bearer_token import (
    LONGEST,
    InvalidTokenError,
    Token,
    is_bearer,
    read_token,
    session_name,
)
from lightwell.errors import AccessDeniedError, ExpiredTokenError
from tests.dicomweb.support.tokens import part

NOW = 1_800_000_000
HOURS = 3600


def read(token: str, now_ms: int = NOW * 1000, leeway: int = 0) -> Token:
    return read_token([(b"host", b"x"), (b"authorization", b"Bearer " + token.encode())], now_ms, leeway)


def token(header: Any = None, **claims: Any) -> str:
    payload = {"iat": NOW - 10, "exp": NOW + 10, **claims}
    kept = {name: value for name, value in payload.items() if value is not ...}
    return f"{part(header or {'alg': 'RS256'})}.{part(kept)}.c2ln"


def bearing(payload: bytes) -> str:
    return f"{part({'alg': 'RS256'})}.{part(payload)}.c2ln"


def refuses(text: str, **more: Any) -> bool:
    with pytest.raises(AccessDeniedError, match=r"^Invalid or Expired Token$"):
        read(text, **more)
    return True


def test_knows_the_scheme_in_any_case() -> None:
    for given in (b"Bearer x", b"bearer x", b"BEARER\tx", b"Bearer"):
        assert is_bearer(given)
    for given in (b"", b"Bearerx", b"AWS4-HMAC-SHA256 Credential=Bearer", b"Basic Bearer"):
        assert not is_bearer(given)


def test_reads_a_token_that_may_be_used() -> None:
    text = token(sub="ada", nbf=NOW - 1)
    assert read(text) == Token(text, NOW + 10, "ada")


@pytest.mark.parametrize(
    ("claim", "good", "bad"),
    [
        ("exp", [NOW + 1, NOW + 0.001, 1e300], [NOW, NOW - 0.001, 0, -1]),
        ("iat", [NOW - 1, NOW - 0.5, NOW - 12 * HOURS], [NOW, NOW + 1, NOW - 12 * HOURS - 1, 0]),
        ("nbf", [NOW - 1, NOW - 0.001, 0], [NOW, NOW + 0.001]),
    ],
)
def test_holds_claims_against_the_clock(claim: str, good: list[float], bad: list[float]) -> None:
    for value in good:
        read(token(**{claim: value}))
    for value in bad:
        assert refuses(token(**{claim: value}))


def test_tells_an_expired_token_from_another_invalid_one() -> None:
    def told(text: str) -> type[Exception]:
        with pytest.raises((AccessDeniedError, ExpiredTokenError)) as caught:
            read_token([(b"authorization", b"Bearer " + text.encode())], NOW * 1000, tell_expired=True)
        assert str(caught.value) == "Invalid or Expired Token"
        return caught.type

    for text in (token(exp=NOW), token(iat=NOW - 12 * HOURS - 1), token(exp=0, nbf=NOW - 9)):
        assert told(text) is ExpiredTokenError
    for text in ("", "a.b.c", token(iat=NOW + 1), token(nbf=NOW), token(exp=NOW, nbf=NOW), token(exp="1")):
        assert told(text) is InvalidTokenError


def test_counts_milliseconds() -> None:
    text = token(exp=NOW + 0.5, iat=NOW)
    assert refuses(text, now_ms=NOW * 1000)
    assert read(text, now_ms=NOW * 1000 + 1).expires_at == NOW + 0.5
    assert read(text, now_ms=NOW * 1000 + 499)
    assert refuses(text, now_ms=NOW * 1000 + 500)


def test_takes_a_long_token_while_it_is_young() -> None:
    text = token(iat=NOW, exp=NOW + 24 * HOURS)
    assert read(text, now_ms=(NOW + 12 * HOURS) * 1000)
    assert refuses(text, now_ms=(NOW + 12 * HOURS) * 1000 + 1)


def test_allows_for_clocks_that_differ_by_the_leeway() -> None:
    for claims in ({"exp": NOW - 59}, {"iat": NOW + 59}, {"nbf": NOW + 59}, {"iat": NOW - 12 * HOURS - 60}):
        assert read(token(**claims), leeway=60)
        assert refuses(token(**claims))
    for claims in ({"exp": NOW - 60}, {"iat": NOW + 60}, {"nbf": NOW + 60}, {"iat": NOW - 12 * HOURS - 61}):
        assert refuses(token(**claims), leeway=60)


@pytest.mark.parametrize("value", ["1800000010", True, None, [], {}, ...])
def test_refuses_times_that_are_no_numbers(value: object) -> None:
    assert refuses(token(exp=value))
    assert refuses(token(iat=value))
    if value is not ...:
        assert refuses(token(nbf=value))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "opaque",
        "a.b",
        token() + ".more.parts",
        token() + "=",
        token().replace(".", ". "),
        token().rpartition(".")[0] + ".",
        token(header={"alg": "none"}),
        token(header={"alg": "None"}),
        token(header={"typ": "JWT"}),
        token(header={"alg": 1}),
        token(header=["alg"]),
        bearing(b"no json"),
        bearing(b"[1, 2]"),
        bearing(b"[" * 20_000),
        bearing(json.dumps({"iat": NOW - 10, "exp": NOW + 10}).encode("utf-16")),
        bearing(b'{"iat":1e400,"exp":NaN}'),
        bearing(b'{"iat":%d,"exp":%d,"x":"\xff"}' % (NOW - 10, NOW + 10)),
        f"{part(b'no json')}.{token().split('.')[1]}.c2ln",
        f"{part({'alg': 'RS256'})}.A.c2ln",
        token(padding="x" * LONGEST),
        "ä" + token(),
    ],
)
def test_refuses_what_is_no_signed_jwt(text: str) -> None:
    assert refuses(text)


def test_refuses_two_headers() -> None:
    one = (b"authorization", b"Bearer " + token().encode())
    with pytest.raises(AccessDeniedError):
        read_token([one, one], NOW * 1000)


def test_names_a_session_after_the_subject() -> None:
    for subject in ("ada", "ada@example.org", "f3a0c9d2-1111-4222-8333-944445555666"):
        assert session_name(subject) == subject
    assert session_name(None) == session_name("") == session_name(7) == "dicomweb"
    odd = [session_name(name) for name in ("a", "dicomweb", "a b", "a/b", "é", "x" * 65, "sub-1", "\ud800")]
    assert len(set(odd)) == len(odd)
    for name in odd:
        assert name.startswith("sub-") and len(name) == 44
