"""Requests signed by botocore, as a server gets them."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import botocore.auth
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lightwell.auth.sigv4 import SignedRequest, read_signature, verify

HOST = "runtime-localhost:8085"
KEY, SECRET, REGION, SERVICE = (
    "AKIDEXAMPLE",
    "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "eu-west-1",
    "medical-imaging",
)
AT = datetime.datetime(2024, 5, 17, 10, 20, 30, tzinfo=datetime.UTC)
NOW = AT.timestamp()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """The secret and session token that sign a request, for which service and region, and when."""

    secret: str = SECRET
    token: str | None = None
    service: str = SERVICE
    region: str = REGION
    at: datetime.datetime = AT

    def credentials(self) -> Credentials:
        return Credentials(KEY, self.secret, self.token)


SIGNER = Signer()


def build(
    method: str = "POST",
    target: str = "/datastore",
    headers: list[tuple[str, str]] | None = None,
    body: bytes = b"",
    host: str = HOST,
) -> AWSRequest:
    request = AWSRequest(method=method, url=f"http://{host}{target}", data=body)
    for name, value in headers or []:
        request.headers.add_header(name, value)
    return request


def arrived(request: AWSRequest, host: str = HOST) -> SignedRequest:
    parts = urlsplit(request.url)
    headers = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in request.headers.items()]
    if not any(name == b"host" for name, _ in headers):
        headers.append((b"host", host.encode()))
    headers.append((b"user-agent", b"Boto3/1.43"))
    return SignedRequest(request.method, parts.path.encode(), parts.query.encode(), headers)


def _sign(signer: SigV4Auth, request: AWSRequest, at: datetime.datetime) -> None:
    with mock.patch.object(botocore.auth, "get_current_datetime", lambda *_: at):
        signer.add_auth(request)


def signed(
    method: str = "POST",
    target: str = "/datastore",
    headers: list[tuple[str, str]] | None = None,
    body: bytes = b"",
    *,
    host: str = HOST,
    signer: Signer = SIGNER,
) -> SignedRequest:
    """A request that is signed in its Authorization header."""
    request = build(method, target, headers, body, host)
    _sign(SigV4Auth(signer.credentials(), signer.service, signer.region), request, signer.at)
    return arrived(request, host)


def presigned(
    method: str = "GET",
    target: str = "/datastore",
    headers: list[tuple[str, str]] | None = None,
    *,
    expires: int = 60,
    signer: Signer = SIGNER,
) -> SignedRequest:
    """A request that is signed in its query."""
    request = build(method, target, headers)
    auth = SigV4QueryAuth(signer.credentials(), signer.service, signer.region, expires=expires)
    _sign(auth, request, signer.at)
    return arrived(request)


def check(request: SignedRequest, body: bytes = b"", now: float = NOW, **changes: Any) -> None:
    """Read and verify, as the gate does; raises AuthenticationError."""
    arguments: dict[str, Any] = {"secret": SECRET, "body_sha256": lambda: hashlib.sha256(body).hexdigest()}
    verify(read_signature(request), request, now=now, **(arguments | changes))
