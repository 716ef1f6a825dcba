"""Lambda authorizers: the target that answers for a function, its event, and the meaning of its response.

Source: devguide/dicomweb-oidc ("Lambda contract", "Exception Codes").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from lightwell.errors import (
    AccessDeniedError,
    ApiError,
    ConfigurationError,
    FailedDependencyError,
    RequestTimeoutError,
    ThrottlingError,
)
from lightwell.setting_urls import masked_url

SECONDS = 1.0
"""How long an authorizer may take to answer, including connecting to it."""
INVOKE_PATH = "/2015-03-31/functions/function/invocations"
"""The Invoke API of AWS's runtime interface emulator, in which every function is named ``function``."""

Kind = Literal["misconfigured", "failed", "late", "foreign", "busy"]

MISCONFIGURED = "Authorizer Misconfiguration"
FAILED = "Authorizer Failed"
LATE = "Authorizer Timeout"
FOREIGN = "Authorizer Cross Account/Cross Region Access"
BUSY = "Too many requests"
DENIED = "Access Denied"

_PYTHON = re.compile(r"python:([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_PRINTABLE = re.compile(r"[!-~]*")
_LONGEST_TARGET = 2048


class AuthorizerFailure(Exception):
    """An authorizer gave no decision. ``reason`` is for the log; callers learn only the kind."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason

    def api_error(self) -> ApiError:
        """The error for the caller."""
        match self.kind:
            case "misconfigured":
                return FailedDependencyError(MISCONFIGURED)
            case "failed":
                return FailedDependencyError(FAILED)
            case "foreign":
                return FailedDependencyError(FOREIGN)
            case "late":
                return RequestTimeoutError(LATE)
            case "busy":
                return ThrottlingError(BUSY, retry_after=1)


class NoRoleError(AccessDeniedError):
    """The authorizer vouches for a token, and returns no role for it."""


def denied() -> NoRoleError:
    """The error if the authorizer returns no role."""
    return NoRoleError(DENIED)


# Targets


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """A function behind the Lambda Invoke API. ``path`` includes the query."""

    is_tls: bool
    host: str
    port: int
    authority: str
    path: str


@dataclass(frozen=True, slots=True)
class PythonTarget:
    """A function in a Python module, called the way Lambda calls a handler."""

    module: str
    function: str


def parse_target(text: str) -> HttpTarget | PythonTarget:
    """Parse a target. Raises `ConfigurationError` saying what is expected."""
    if text.startswith("python:"):
        match = _PYTHON.fullmatch(text)
        if match is None:
            raise ConfigurationError(
                f"The target {text!r} is invalid: expected python:PACKAGE.MODULE:FUNCTION"
            )
        return PythonTarget(match[1], match[2])
    if not text.startswith(("http://", "https://")):
        raise ConfigurationError(
            f"The target {text!r} is invalid: expected http://…, https://… or python:PACKAGE.MODULE:FUNCTION"
        )
    return _http(text)


def _http(text: str) -> HttpTarget:
    def invalid(why: str) -> ConfigurationError:
        return ConfigurationError(f"The target {masked_url(text)!r} is not a usable URL: {why}")

    if len(text) > _LONGEST_TARGET or not _PRINTABLE.fullmatch(text):
        raise invalid("it is too long or contains characters that must be percent-encoded")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise invalid(str(error)) from None
    if parts.username is not None or parts.password is not None:
        raise invalid("it must not contain a user name or password")
    if parts.fragment:
        raise invalid("it must not contain a fragment")
    if not parts.hostname or not _HOST.fullmatch(parts.hostname) or port == 0:
        raise invalid("it has no valid host")
    path = parts.path
    if path in ("", "/") and not parts.query:
        path = INVOKE_PATH
    if parts.query:
        path = f"{path or '/'}?{parts.query}"
    is_tls = parts.scheme == "https"
    return HttpTarget(is_tls, parts.hostname, port or (443 if is_tls else 80), parts.netloc, path)


# The event and the response


class _Event(msgspec.Struct):
    datastoreId: str
    operation: str
    bearerToken: str


class _Response(msgspec.Struct):
    isTokenValid: bool | msgspec.UnsetType = msgspec.UNSET
    roleArn: str | msgspec.UnsetType = msgspec.UNSET
    errorType: object = msgspec.UNSET


_RESPONSE = msgspec.json.Decoder(_Response)
_EVENT = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class AuthorizerDecision:
    """The decision of an authorizer; an empty role denies."""

    is_token_valid: bool
    role_arn: str


def event(datastore_id: str, operation: str, token: str) -> bytes:
    """The event that the function is called with, as JSON."""
    return _EVENT.encode(_Event(datastore_id, operation, token))


def read_decision(payload: bytes) -> AuthorizerDecision:
    """The decision in the function's response; members other than the documented ones are ignored.

    Raises `AuthorizerFailure`: *failed* if the response is the error that Lambda makes of an exception,
    *misconfigured* if it is anything else that is not a decision.
    """
    try:
        response = _RESPONSE.decode(payload)
    except (ValueError, RecursionError) as error:
        raise AuthorizerFailure("misconfigured", f"the response is malformed: {error}") from None
    valid, role = response.isTokenValid, response.roleArn
    if valid is msgspec.UNSET and response.errorType is not msgspec.UNSET:
        raise AuthorizerFailure("failed", f"the function raised {str(response.errorType)[:200]}")
    if valid is msgspec.UNSET or role is msgspec.UNSET:
        raise AuthorizerFailure("misconfigured", "the response lacks isTokenValid or roleArn")
    return AuthorizerDecision(valid, role)
