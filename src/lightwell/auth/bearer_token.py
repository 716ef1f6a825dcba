"""Bearer tokens: is this a JWT, and is it valid now? Whether it is genuine is for the authorizer to say.

Sources: RFC 6750 §2.1 (the header), RFC 7519 (the token), devguide/dicomweb-oidc-requirements (``exp`` and
``iat`` are required, a token is valid for 12 hours at most).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from lightwell.errors import AccessDeniedError, ExpiredTokenError

# Request heads are limited to 64 KiB.
LONGEST = 32 << 10
GREATEST_AGE = 12 * 3600
"""Seconds since ``iat``."""
INVALID = "Invalid or Expired Token"

VIEWER_TYPE = "lightwell-viewer+jwt"
"""The type of tokens that the console hands to viewers (`viewer_token`)."""
# How long their first part is: {"alg":"HS256","typ":"lightwell-viewer+jwt"}, in either order.
_VIEWER_HEADER = len(
    base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"%s"}' % VIEWER_TYPE.encode()).rstrip(b"=")
)

_JWT = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_SESSION = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_HASHED = "sub-"
_NAMELESS = "dicomweb"
_LONGEST_SUBJECT = 256


class _Header(msgspec.Struct):
    alg: str


class _Claims(msgspec.Struct):
    exp: int | float
    iat: int | float
    nbf: int | float | msgspec.UnsetType = msgspec.UNSET
    sub: object = None


_HEADER = msgspec.json.Decoder(_Header)
_CLAIMS = msgspec.json.Decoder(_Claims)


@dataclass(frozen=True, slots=True)
class Token:
    """A JWT that is valid now. ``expires_at`` is in epoch seconds, ``session`` names its subject."""

    text: str
    expires_at: float
    session: str


def is_bearer(authorization: bytes) -> bool:
    """Whether an ``Authorization`` header holds a bearer token; schemes ignore case (RFC 9110 §11.1)."""
    return authorization[:6].lower() == b"bearer" and authorization[6:7] in (b"", b" ", b"\t")


def is_viewer_token(authorization: bytes) -> bool:
    """Whether a bearer token says that it is one of the console's for a viewer."""
    header = authorization[6:].strip().partition(b".")[0]
    if len(header) != _VIEWER_HEADER:
        return False
    try:
        return f'"{VIEWER_TYPE}"' in _decoded(header)
    except ValueError:
        return False


def read_token(
    headers: Sequence[tuple[bytes, bytes]], now: int, leeway: int = 0, *, tell_expired: bool = False
) -> Token:
    """The token of a request; ``now`` is milliseconds since the epoch, ``leeway`` seconds.

    Raises `AccessDeniedError` unless it is a signed JWT whose ``exp``, ``iat`` and ``nbf`` are numbers and
    that is not expired, already valid and not older than `GREATEST_AGE`. ``tell_expired``: raise
    `ExpiredTokenError` instead if a new token in its place would do.
    """
    given = [value for name, value in headers if name == b"authorization"]
    text = given[0][6:].strip() if len(given) == 1 else b""
    if len(text) > LONGEST or not _JWT.fullmatch(text):
        raise invalid_token()
    header, payload, _ = text.split(b".")
    try:
        algorithm = _HEADER.decode(_decoded(header)).alg
        claims = _CLAIMS.decode(_decoded(payload))
    except (ValueError, RecursionError):
        raise invalid_token() from None
    if algorithm.lower() == "none" or not _has_begun(claims, now / 1000, leeway):
        raise invalid_token()
    if _is_over(claims, now / 1000, leeway):
        raise ExpiredTokenError(INVALID) if tell_expired else invalid_token()
    return Token(text.decode(), claims.exp, session_name(claims.sub))


def subject_of(authorization: bytes) -> str | None:
    """Whom a token that was accepted is about, as its issuer calls that person, in full.

    The session's name may be a hash of it.
    """
    try:
        subject = _CLAIMS.decode(_decoded(authorization.split(b".")[1])).sub
    except (IndexError, ValueError, RecursionError):
        return None
    return subject[:_LONGEST_SUBJECT] if isinstance(subject, str) and subject else None


def session_name(subject: object) -> str:
    """The session name of the role: the token's subject, hashed if it is not a valid name."""
    if not isinstance(subject, str) or not subject:
        return _NAMELESS
    if _SESSION.fullmatch(subject) and not subject.startswith(_HASHED) and subject != _NAMELESS:
        return subject
    return _HASHED + hashlib.sha256(subject.encode("utf-8", "surrogatepass")).hexdigest()[:40]


class InvalidTokenError(AccessDeniedError):
    """A bearer token is not accepted."""


def invalid_token() -> AccessDeniedError:
    """The error for an invalid token, the same whatever is wrong with it."""
    return InvalidTokenError(INVALID)


def _has_begun(claims: _Claims, now: float, leeway: int) -> bool:
    return claims.iat - leeway < now and (claims.nbf is msgspec.UNSET or claims.nbf - leeway < now)


def _is_over(claims: _Claims, now: float, leeway: int) -> bool:
    return not now < claims.exp + leeway or now - claims.iat > GREATEST_AGE + leeway


def _decoded(part: bytes) -> str:
    return base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)).decode()
