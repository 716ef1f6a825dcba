"""AWS Signature Version 4: was a request signed with this secret?

Verification only: who owns an access key and whether its session has expired is up to the caller. Both forms
are supported, the ``Authorization`` header and the query of a presigned URL. Sources: AWS General Reference,
"Signature Version 4" and its published vectors; where that text is ambiguous, what botocore signs.

The Host header is used as received, whatever name the client used. Any Region is accepted.

Errors are AuthenticationError, 403, with AWS's codes: MissingAuthenticationToken and IncompleteSignature
(spelled as on AWS's Common Errors page; some of its front ends add "Exception") and
InvalidSignatureException; the caller adds UnrecognizedClientException and ExpiredTokenException.
"""

from __future__ import annotations

import hmac
from calendar import timegm
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from hashlib import sha256
from time import strftime
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from lightwell.auth.sigv4_canonical import canonical_path, canonical_queries, is_form, trim
from lightwell.errors import AuthenticationError, WrongCredentialsError

ALGORITHM = b"AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
SKEW = 15 * 60
LONGEST_PRESIGNED = 7 * 24 * 3600
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
STREAMING_PREFIX = "STREAMING-"

MISSING = "MissingAuthenticationToken"
INCOMPLETE = "IncompleteSignature"
INVALID = "InvalidSignatureException"

_DOES_NOT_MATCH = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your secret access key and signing method."
)
_LONGEST_SCOPE = 1024  # bytes of a header whose parsed form is cached
_LONGEST_AUTHORIZATION = 8 << 10
_LONGEST_DATE = 64
# If one of these came twice, it would be ambiguous which value was meant.
_SINGLE = (
    b"authorization",
    b"host",
    b"x-amz-date",
    b"x-amz-content-sha256",
    b"x-amz-security-token",
)


@dataclass(slots=True)
class SignedRequest:
    """A request as received: path and query still encoded, header names in lower case.

    ``client`` is the address that it came from, as far as that is known. ``head`` are the headers by their
    names, of a repeated one the last; whoever has them already gives them.
    """

    method: str
    raw_path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    client: str | None = None
    head: dict[bytes, bytes] | None = None


class Signature(NamedTuple):
    """The signature of a request, not verified yet.

    `signed_at` is in epoch seconds, `timestamp` the same time as signed (``YYYYMMDDTHHMMSSZ``).
    `payload_hash` is what the client states about the body, None if the actual hash of the body was signed.
    `expires` is the lifetime of a presigned URL in seconds, None for the header form.
    """

    access_key_id: str
    session_token: str | None
    region: str
    service: str
    date: str
    timestamp: str
    signed_at: int
    signed_headers: bytes
    signature: bytes
    payload_hash: str | None
    expires: int | None
    headers: dict[bytes, bytes]


class _Scope(NamedTuple):
    """The credential scope, its access key ID and the names of the signed headers."""

    access_key_id: str
    region: str
    service: str
    date: str
    signed_headers: bytes


def read_signature(request: SignedRequest) -> Signature:
    """The signature of a request. Raises `AuthenticationError` if it is missing or malformed."""
    headers = dict(request.headers) if request.head is None else request.head
    if len(headers) != len(request.headers):
        headers = _joined(request.headers)
    authorization = headers.get(b"authorization", b"").strip()
    presigned = b"X-Amz-Signature=" in request.query or b"X-Amz-Algorithm=" in request.query
    if presigned and authorization:
        raise _incomplete("A request must be signed in its Authorization header or in its query, not in both")
    if authorization:
        return _from_header(authorization, headers)
    if presigned:
        return _from_query(request.query, headers)
    raise AuthenticationError(
        MISSING,
        "Missing Authentication Token: sign the request with an access key, or send DICOMweb a bearer token",
    )


def verify(
    signature: Signature,
    request: SignedRequest,
    secret: str,
    body_sha256: str | Callable[[], str],
    now: float,
    service: str = "medical-imaging",
) -> bytes:
    """Raises `AuthenticationError` unless `request` was signed with `secret` around `now` (epoch seconds).

    Returns the query as it was signed: a ``+`` that was signed as ``%2B`` is returned as ``%2B``, since
    parsers may take a ``+`` for a space. One signature never covers two readings.

    `body_sha256` is the SHA-256 of the body in lower-case hex, or a function that returns it. It is called
    only if the signature needs it: last, if the client states the hash itself in ``x-amz-content-sha256``,
    and never for ``UNSIGNED-PAYLOAD`` and the ``STREAMING-…`` literals.
    """
    if signature.service != service:
        raise _invalid(f"Credential should be scoped to correct service: '{service}'.")
    # This also ensures eight digits, since the timestamp has been parsed.
    if signature.timestamp[:8] != signature.date:
        raise _invalid(
            f"Date in Credential scope does not match YYYYMMDD of {signature.timestamp}: '{signature.date}'."
        )
    _check_time(signature, now)
    stated = signature.payload_hash
    if stated is None:
        stated = body_sha256 if isinstance(body_sha256, str) else body_sha256()
    key = _signing_key(secret, signature.date, signature.region, service)
    head = _string_head(signature.timestamp, signature.region, service)
    canonical_headers = _canonical_headers(signature)
    form = b"+" in request.query and is_form(request.raw_path)
    path = canonical_path(request.raw_path)
    for query, signed_query in canonical_queries(request.query, signature.expires is not None, form=form):
        canonical = b"\n".join(
            (
                request.method.encode(),
                path,
                query,
                canonical_headers,
                b"",
                signature.signed_headers,
                stated.encode(),
            )
        )
        expected = hmac.digest(key, head + sha256(canonical).hexdigest().encode(), "sha256").hex()
        if hmac.compare_digest(expected.encode(), signature.signature):
            as_signed = signed_query
            break
    else:
        raise WrongCredentialsError(INVALID, _DOES_NOT_MATCH)
    if signature.payload_hash is not None and not is_literal(stated):
        check_payload(stated, body_sha256 if isinstance(body_sha256, str) else body_sha256())
    return as_signed


def check_payload(stated: str | None, actual: str) -> None:
    """Compare the hash that the client states with that of the body, unless it is none or a literal.

    Raises `AuthenticationError` if they differ.
    """
    if stated is None or is_literal(stated):
        return
    if not hmac.compare_digest(stated.lower().encode(), actual.encode()):
        raise _invalid("The value of x-amz-content-sha256 is not the SHA-256 of the body received.")


def is_literal(payload_hash: str) -> bool:
    """Whether this is one of the literals that mean "the body is not hashed"."""
    return payload_hash == UNSIGNED_PAYLOAD or payload_hash.startswith(STREAMING_PREFIX)


# Parsing the two forms


def _joined(pairs: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The values of each header joined, as they are signed."""
    headers: dict[bytes, bytes] = {}
    repeated: dict[bytes, list[bytes]] = {}
    for name, value in pairs:
        if name not in headers:
            headers[name] = value
        elif name in _SINGLE:
            raise _incomplete(f"The header {name.decode('ascii', 'replace')} must be given only once")
        else:
            repeated.setdefault(name, [trim(headers[name])]).append(trim(value))
    for name, values in repeated.items():
        headers[name] = b",".join(values)
    return headers


def _from_header(authorization: bytes, headers: dict[bytes, bytes]) -> Signature:
    start, name, given = authorization.rpartition(b"Signature=")
    if name and given.isalnum() and len(start) < _LONGEST_SCOPE:
        scope = _cached_scope(start + name)
    else:
        scope, given = _parse_authorization(authorization)
    date = headers.get(b"x-amz-date")
    if date is not None:
        timestamp = _text(date)
    else:
        timestamp = _timestamp_of_date(headers.get(b"date"))
    payload_hash = headers.get(b"x-amz-content-sha256")
    token = headers.get(b"x-amz-security-token")
    return _signature(scope, given, timestamp, token, payload_hash, None, headers)


@lru_cache(maxsize=1024)
def _cached_scope(start: bytes) -> _Scope:
    """The scope in an ``Authorization`` header up to the value of the signature, which usually comes last.

    A client sends the same one all day.
    """
    return _parse_authorization(start + b"-")[0]


def _parse_authorization(authorization: bytes) -> tuple[_Scope, bytes]:
    """Scope and signature of an ``Authorization`` header."""
    if len(authorization) > _LONGEST_AUTHORIZATION:
        raise _incomplete(f"The Authorization header is longer than {_LONGEST_AUTHORIZATION} bytes")
    algorithm, _, rest = authorization.partition(b" ")
    if algorithm != ALGORITHM:
        raise _incomplete(f"The Authorization header must begin with {ALGORITHM.decode()}")
    parts: dict[bytes, bytes] = {}
    for part in rest.split(b","):
        name, equals, value = part.strip().partition(b"=")
        if not equals or name in parts:
            raise _incomplete(
                "The Authorization header must contain Credential=…, SignedHeaders=…, Signature=…"
            )
        parts[name] = value
    try:
        credential, signed_headers, given = parts[b"Credential"], parts[b"SignedHeaders"], parts[b"Signature"]
    except KeyError as error:
        raise _incomplete(f"The Authorization header requires '{error.args[0].decode()}'") from None
    return _scope(credential, signed_headers, given), given


def _from_query(query: bytes, headers: dict[bytes, bytes]) -> Signature:
    values: dict[bytes, bytes] = {}
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        name = unquote_to_bytes(name)
        if name.startswith(b"X-Amz-"):
            if name in values:
                raise _incomplete(f"The query must contain {name.decode('ascii', 'replace')} only once")
            values[name] = unquote_to_bytes(value)
    if values.get(b"X-Amz-Algorithm") != ALGORITHM:
        raise _incomplete(f"X-Amz-Algorithm must be {ALGORITHM.decode()}")
    for name in (
        b"X-Amz-Credential",
        b"X-Amz-Date",
        b"X-Amz-Expires",
        b"X-Amz-SignedHeaders",
        b"X-Amz-Signature",
    ):
        if not values.get(name):
            raise _incomplete(f"A presigned request must have {name.decode()} in its query")
    expires = values[b"X-Amz-Expires"]
    if not expires.isdigit() or len(expires) > 6 or not 1 <= int(expires) <= LONGEST_PRESIGNED:
        raise _incomplete(f"X-Amz-Expires must be a number of seconds from 1 to {LONGEST_PRESIGNED}")
    given = values[b"X-Amz-Signature"]
    return _signature(
        _scope(values[b"X-Amz-Credential"], values[b"X-Amz-SignedHeaders"], given),
        given,
        _text(values[b"X-Amz-Date"]),
        values.get(b"X-Amz-Security-Token"),
        values.get(b"X-Amz-Content-Sha256", headers.get(b"x-amz-content-sha256")),
        int(expires),
        headers,
    )


def _scope(credential: bytes, signed_headers: bytes, given: bytes) -> _Scope:
    # Split from the right: an access key ID may contain slashes.
    scope = _text(credential).rsplit("/", 4)
    if len(scope) != 5 or not all(scope):
        raise _incomplete(f"Credential must be KEY/YYYYMMDD/REGION/SERVICE/{TERMINATOR}")
    key_id, date, region, service, terminator = scope
    if terminator != TERMINATOR:
        raise _invalid(f"Credential should be scoped with a valid terminator: '{TERMINATOR}'.")
    if not given or not signed_headers:
        raise _incomplete("SignedHeaders and Signature must not be empty")
    names = signed_headers.split(b";")
    if b"host" not in names:
        raise _invalid("'host' must be among the SignedHeaders.")
    if len(set(names)) != len(names):
        raise _invalid("SignedHeaders must list each header only once.")
    return _Scope(key_id, region, service, date, signed_headers)


def _signature(
    scope: _Scope,
    given: bytes,
    timestamp: str,
    token: bytes | None,
    payload_hash: bytes | None,
    expires: int | None,
    headers: dict[bytes, bytes],
) -> Signature:
    return Signature(
        scope.access_key_id,
        None if token is None else _text(token),
        scope.region,
        scope.service,
        scope.date,
        timestamp,
        _seconds(timestamp),
        scope.signed_headers,
        given,
        None if payload_hash is None else _text(payload_hash),
        expires,
        headers,
    )


def _timestamp_of_date(date: bytes | None) -> str:
    """The ``date`` header, used without ``x-amz-date``: ISO 8601 basic format or RFC 7231's."""
    if date is None:
        raise _incomplete(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        )
    text = _text(date)
    if len(text) == 16 and text.endswith("Z"):
        return text
    if len(text) > _LONGEST_DATE:
        raise _incomplete("The Date header is not a date")
    try:
        moment = parsedate_to_datetime(text).utctimetuple()
    except (ValueError, IndexError, TypeError, OverflowError):
        raise _incomplete("The Date header is not a date") from None
    return strftime("%Y%m%dT%H%M%SZ", moment)


@lru_cache(maxsize=1024)
def _seconds(timestamp: str) -> int:
    if len(timestamp) == 16 and timestamp[8] == "T" and timestamp[15] == "Z":
        digits = timestamp[:8] + timestamp[9:15]
        if digits.isascii() and digits.isdigit():
            try:
                # Not by strptime, whose first call in a process takes a tenth of a second.
                date = int(digits[:4]), int(digits[4:6]), int(digits[6:8])
                time = int(digits[8:10]), int(digits[10:12]), int(digits[12:])
                return timegm(datetime(*date, *time).timetuple())
            except ValueError:
                pass
    raise _incomplete("Date must be in ISO-8601 'basic format', YYYYMMDDTHHMMSSZ")


def _check_time(signature: Signature, now: float) -> None:
    signed_at = signature.signed_at
    if signed_at > now + SKEW:
        raise _invalid(
            f"Signature not yet current: {signature.timestamp} is still later than {_stamp(now + SKEW)} "
            f"({_stamp(now)} + 15 min.)"
        )
    if signature.expires is not None:
        if now > signed_at + signature.expires:
            end = _stamp(signed_at + signature.expires)
            raise _invalid(f"Signature expired: this presigned request was valid until {end}")
    elif signed_at < now - SKEW:
        raise _invalid(
            f"Signature expired: {signature.timestamp} is now earlier than {_stamp(now - SKEW)} "
            f"({_stamp(now)} - 15 min.)"
        )


# The canonical request


def _canonical_headers(signature: Signature) -> bytes:
    headers, names = signature.headers, signature.signed_headers.split(b";")
    try:
        # Each value as `trim` makes it.
        return b"\n".join([name + b":" + b" ".join(headers[name].split()) for name in names])
    except KeyError as error:
        shown = error.args[0].decode("ascii", "replace")
        raise _invalid(
            f"'{shown}' is named as a SignedHeader, but it does not exist in the HTTP request."
        ) from None


# Keys and text


@lru_cache(maxsize=1024)
def _signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The signing key of one day, cached because deriving it costs as much as the rest of a verification."""
    key = hmac.digest(b"AWS4" + secret.encode(), date.encode(), "sha256")
    for part in (region, service, TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


@lru_cache(maxsize=1024)
def _string_head(timestamp: str, region: str, service: str) -> bytes:
    return f"{ALGORITHM.decode()}\n{timestamp}\n{timestamp[:8]}/{region}/{service}/{TERMINATOR}\n".encode()


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip()


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")


def _incomplete(message: str) -> AuthenticationError:
    return AuthenticationError(INCOMPLETE, message)


def _invalid(message: str) -> AuthenticationError:
    return AuthenticationError(INVALID, message)
