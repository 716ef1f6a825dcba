"""A gateway whose audit trail is kept in memory, and requests to it without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lightwell import app
from lightwell.clock import Clock
from lightwell.observe.audit.record import AnyRecord, AuditRecord, decode_line, encode_lines
from lightwell.observe.audit.trail import AuditTrail, TrailOptions
from lightwell.settings import Settings
from lightwell.web.gateway import Gateway


@dataclass(slots=True)
class Kept:
    """A chain in memory, as it would be read from a disk. With ``is_broken`` nothing can be written."""

    records: list[AuditRecord] = field(default_factory=list)
    synced: int = 0
    is_broken: bool = False

    def append(self, records: Sequence[AnyRecord]) -> None:
        if self.is_broken:
            raise OSError(28, "No space left on device")
        self.records += map(decode_line, encode_lines(records).splitlines())

    def sync(self) -> None:
        if self.is_broken:
            raise OSError(28, "No space left on device")
        self.synced = len(self.records)

    def close(self) -> None:
        self.sync()


@dataclass(frozen=True, slots=True)
class Answer:
    """``sent`` are the messages as the gateway has sent them."""

    status: int
    body: bytes
    sent: list[Any]


@dataclass(frozen=True, slots=True)
class Audited:
    """``after`` gives the records that requests have left."""

    gateway: Gateway
    trail: AuditTrail
    chain: Kept

    def after(self, *answered: Answer) -> list[AuditRecord]:
        """The records since the last call, once what was put is written."""
        if self.gateway.witness is not None:
            self.gateway.witness.close()
        self.trail.flush()
        records, self.chain.records = self.chain.records, []
        return records


@contextmanager
def audited(settings: Settings, options: TrailOptions | None = None) -> Iterator[Audited]:
    """The application of one process, with a trail."""
    chain = Kept()
    trail = AuditTrail(lambda: chain, Clock().now, options or TrailOptions())
    trail.begin()
    made = app.build(settings, trail=trail)
    try:
        yield Audited(made, trail, chain)
    finally:
        app.close(made)
        trail.close()


def signed(
    key: Credentials | None,
    method: str,
    url: str,
    body: bytes = b"",
    *,
    service: str = "medical-imaging",
    **headers: str,
) -> dict[str, Any]:
    """The scope of a request, with its body below ``body``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = AWSRequest(method, f"http://localhost{url}", data=body, headers={"host": "localhost", **named})
    if key is not None:
        SigV4Auth(key, service, "us-east-1").add_auth(request)
    parts = urlsplit(url)
    return {
        "type": "http",
        "method": method,
        "scheme": "http",
        "http_version": "1.1",
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "client": ("192.0.2.7", 4711),
        "headers": [
            *((name.lower().encode(), str(value).encode()) for name, value in request.headers.items()),
            (b"content-length", b"%d" % len(body)),
        ],
        "body": body,
    }


def ask(gateway: Gateway, scope: dict[str, Any], *, leaves_after: int | None = None) -> Answer:
    """The answer to a request; its sender is gone after so many messages that are more to come."""
    sent: list[Any] = []
    body = scope["body"]

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        pieces = sum(bool(each.get("more_body")) for each in sent)
        if leaves_after is not None and message.get("more_body") and pieces >= leaves_after:
            raise ConnectionResetError("The client is gone.")
        sent.append(message)

    asyncio.run(gateway({name: value for name, value in scope.items() if name != "body"}, receive, send))
    return Answer(sent[0]["status"], b"".join(each.get("body", b"") for each in sent), sent)
