"""Lambda authorizers: what stands for the function, what it is told, and what its answer means.

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

SECONDS = 1.0
"""Within this time an authorizer must have answered, the connection to it included."""
INVOKE_PATH = "/2015-03-31/functions/function/invocations"
"""The Invoke API of AWS's runtime interface emulator, which calls every function ``function``."""

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
    """An authorizer gave no decision. ``reason`` is for the log: callers are told the kind only."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason

    def answer(self) -> ApiError:
        """What the caller is told."""
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


def denied() -> AccessDeniedError:
    """The refusal where an authorizer gives no role."""
    return AccessDeniedError(DENIED)


# What stands for a function


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """A function behind the Lambda Invoke API. ``path`` is what is asked for, with its query."""

    is_tls: bool
    host: str
    port: int
    authority: str
    path: str


@dataclass(frozen=True, slots=True)
class PythonTarget:
    """A function of a Python module, called as Lambda calls one."""

    module: str
    function: str


def parse_target(text: str) -> HttpTarget | PythonTarget:
    """What ``text`` says; raises `ConfigurationError` telling what it takes."""
    if text.startswith("python:"):
        match = _PYTHON.fullmatch(text)
        if match is None:
            raise ConfigurationError(
                f"The target {text!r} will not do: it takes python:PACKAGE.MODULE:FUNCTION"
            )
        return PythonTarget(match[1], match[2])
    if not text.startswith(("http://", "https://")):
        raise ConfigurationError(
            f"The target {text!r} will not do: it takes http://…, https://… or python:PACKAGE.MODULE:FUNCTION"
        )
    return _http(text)


def _http(text: str) -> HttpTarget:
    def wrong(why: str) -> ConfigurationError:
        return ConfigurationError(f"The target {text!r} is no URL that can be called: {why}")

    if len(text) > _LONGEST_TARGET or not _PRINTABLE.fullmatch(text):
        raise wrong("it is too long or has characters that must be percent-encoded")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise wrong(str(error)) from None
    if parts.username is not None or parts.password is not None:
        raise wrong("it must not hold a user or a password")
    if parts.fragment:
        raise wrong("it must not hold a fragment")
    if not parts.hostname or not _HOST.fullmatch(parts.hostname) or port == 0:
        raise wrong("it names no host")
    path = parts.path
    if path in ("", "/") and not parts.query:
        path = INVOKE_PATH
    if parts.query:
        path = f"{path or '/'}?{parts.query}"
    is_tls = parts.scheme == "https"
    return HttpTarget(is_tls, parts.hostname, port or (443 if is_tls else 80), parts.netloc, path)


# What it is told, and says


class _Event(msgspec.Struct):
    datastoreId: str
    operation: str
    bearerToken: str


class _Answer(msgspec.Struct):
    isTokenValid: bool | msgspec.UnsetType = msgspec.UNSET
    roleArn: str | msgspec.UnsetType = msgspec.UNSET
    errorType: object = msgspec.UNSET


_ANSWER = msgspec.json.Decoder(_Answer)
_EVENT = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class AuthorizerDecision:
    """What an authorizer decided; an empty role denies."""

    is_token_valid: bool
    role_arn: str


def event(datastore_id: str, operation: str, token: str) -> bytes:
    """The JSON that the function is called with."""
    return _EVENT.encode(_Event(datastore_id, operation, token))


def read_decision(payload: bytes) -> AuthorizerDecision:
    """The decision in what the function answered; other members are left alone.

    Raises `AuthorizerFailure`: *failed* where it is the error that Lambda makes of an exception, else
    *misconfigured*.
    """
    try:
        answer = _ANSWER.decode(payload)
    except (ValueError, RecursionError) as error:
        raise AuthorizerFailure("misconfigured", f"the answer is not as it must be: {error}") from None
    valid, role = answer.isTokenValid, answer.roleArn
    if valid is msgspec.UNSET and answer.errorType is not msgspec.UNSET:
        raise AuthorizerFailure("failed", f"the function ended with {str(answer.errorType)[:200]}")
    if valid is msgspec.UNSET or role is msgspec.UNSET:
        raise AuthorizerFailure("misconfigured", "the answer lacks isTokenValid or roleArn")
    return AuthorizerDecision(valid, role)
