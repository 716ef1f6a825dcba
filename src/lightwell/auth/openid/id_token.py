"""Is a token genuine, meant for us, and valid now? Says who bears it, or which of STS's errors is due.

Sources: OpenID Connect Core 1.0 §3.1.3.7 (ID Token validation), RFC 7519, RFC 8725 (algorithms), AWS STS API
Reference, AssumeRoleWithWebIdentity (errors), IAM User Guide, "Create an OpenID Connect (OIDC) identity
provider" (``aud``, ``azp``).
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from lightwell.auth.openid.errors import (
    ExpiredIdentityTokenError,
    InvalidIdentityTokenError,
    RejectedClaimError,
)
from lightwell.auth.openid.provider import OpenIdProvider, ProviderKey
from lightwell.auth.roles import WebIdentity

ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip
"""Never ``none``, and none whose key the bearer may know."""
LONGEST = 20_000
CLOCK_SECONDS = 60
"""By how much the provider's clock may be ahead of ours when it has just issued a token."""
LONGEST_SUBJECT = 255
_TYPES = ("jwt", "application/jwt")

_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)


class _Registry(JWSRegistry):
    max_header_length = 8192
    max_signature_length = 4096


class _Header(msgspec.Struct):
    alg: str
    kid: str | None = None
    typ: str | None = None


class _Issued(msgspec.Struct):
    iss: str


_HEADER = msgspec.json.Decoder(_Header)
_ISSUED = msgspec.json.Decoder(_Issued)


class TokenVerifier:
    """Verifies the tokens of one provider for some of its clients; safe to use from several threads.

    ``leeway`` is how many seconds a token is good for after it has expired.
    """

    def __init__(self, provider: OpenIdProvider, clients: frozenset[str], leeway: int = 0) -> None:
        self._provider = provider
        self._clients = clients
        self._leeway = leeway

    def verify(self, token: str, now: int) -> WebIdentity:
        """Who bears the token; ``now`` is milliseconds since the epoch. Blocks.

        Raises a `WebIdentityError`.
        """
        header = _read(token)
        issuer = self._provider.issuer
        claims = self._genuine(token, header)
        if claims.get("iss") != issuer:
            raise _invalid("The token was issued by another provider")
        if "events" in claims:
            # RFC 8417 §2.2: it tells of something that happened, such as that somebody signed out.
            raise _invalid("The token is a security event, and no ID token")
        audience = self._audience(claims)
        self._check_times(claims, now // 1000)
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 1 <= len(subject) <= LONGEST_SUBJECT:
            raise RejectedClaimError("The token does not say whose it is: it has no claim sub")
        if "\0" in subject or not _is_unicode(subject):
            raise RejectedClaimError("The token's claim sub has characters that no text may have")
        return WebIdentity(issuer, subject, audience, claims)

    def _genuine(self, token: str, header: _Header) -> dict[str, Any]:
        """The claims, if the provider has signed them."""
        given = _issuer_of(token)
        if given != self._provider.issuer:
            raise _invalid(f"No OpenIDConnect provider found in your account for {given[:200]}")
        published = self._provider.published()
        claims = _decoded(token, header, published.keys)
        if claims is None:
            newer = self._provider.published_since(published)
            claims = _decoded(token, header, newer.keys) if newer is not published else None
        if claims is None:
            raise _invalid("Couldn't verify the token's signature with the keys that the provider publishes")
        return claims

    def _audience(self, claims: dict[str, Any]) -> str:
        """Whom of us the token is meant for."""
        given, party = claims.get("aud"), claims.get("azp")
        named = [given] if isinstance(given, str) else given
        if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
            raise _invalid("Incorrect token audience: the token has no claim aud")
        if party is None and len(named) == 1:
            party = named[0]
        if not self._clients.intersection(named) or party not in self._clients:
            raise _invalid(
                "Incorrect token audience: the token was issued to a client that the server does not know"
            )
        return str(party)

    def _check_times(self, claims: dict[str, Any], now: int) -> None:
        expires, issued = _time(claims, "exp"), _time(claims, "iat")
        begins = _time(claims, "nbf") if claims.get("nbf") is not None else issued
        if now >= expires + self._leeway:
            raise ExpiredIdentityTokenError("Token expired: sign in at the provider again")
        if max(issued, begins) > now + CLOCK_SECONDS:
            raise _invalid("The token is not valid yet: compare the clocks of the server and the provider")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _time(claims: dict[str, Any], name: str) -> float:
    """A time in seconds since the epoch (RFC 7519 §2, NumericDate)."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        raise _invalid(f"The token's claim {name} is missing, or is not a time")
    return value


def _read(token: str) -> _Header:
    if len(token) > LONGEST or _JWT.fullmatch(token) is None:
        raise _invalid("The ID Token provided is not a valid JWT: it must be header.claims.signature")
    try:
        header = _HEADER.decode(_part(token, 0))
    except (ValueError, RecursionError):
        raise _invalid("The ID Token provided is not a valid JWT: its header cannot be read") from None
    if header.alg not in ALGORITHMS:
        raise _invalid(
            f"The token is signed with {header.alg[:20]!r}; accepted are {', '.join(ALGORITHMS[:-1])}"
        )
    if header.typ is not None and header.typ.lower() not in _TYPES:
        # RFC 8725 §3.11: access tokens (at+jwt) and logout tokens (logout+jwt) have types of their own.
        raise _invalid(f"The token is of the type {header.typ[:40]!r}: send the provider's ID token")
    return header


def _issuer_of(token: str) -> str:
    try:
        return _ISSUED.decode(_part(token, 1)).iss
    except (ValueError, RecursionError):
        raise _invalid("The ID Token provided is not a valid JWT: it has no claim iss") from None


def _decoded(token: str, header: _Header, keys: tuple[ProviderKey, ...]) -> dict[str, Any] | None:
    """The claims, if one of the keys verifies the signature."""
    for key in keys:
        if header.kid is not None and key.id is not None and key.id != header.kid:
            continue
        if key.algorithm is not None and key.algorithm != header.alg:
            continue
        registry = _Registry(algorithms=[header.alg], strict_check_header=False)
        try:
            claims: dict[str, Any] = jwt.decode(
                token, key.key, registry=registry, decoder_cls=_StrictDecoder
            ).claims
        except (JoseError, ValueError, TypeError, RecursionError):
            continue
        return claims
    return None


class _StrictDecoder(json.JSONDecoder):
    """Refuses a name that occurs twice: two readers might each believe another of them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "object_pairs_hook": _once})


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _part(token: str, place: int) -> bytes:
    part = token.split(".")[place]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _invalid(text: str) -> InvalidIdentityTokenError:
    return InvalidIdentityTokenError(text)
