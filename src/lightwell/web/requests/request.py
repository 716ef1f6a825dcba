"""One request, as the gateway processes it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING

from lightwell.auth.authentication import SignedRequest
from lightwell.auth.openid.errors import WebIdentityError
from lightwell.errors import (
    AccessDeniedError,
    ApiError,
    AuthenticationError,
    ExpiredTokenError,
    TooLargeError,
    UriTooLongError,
    ValidationError,
)
from lightwell.observe.audit.note import AuditNote
from lightwell.web.requests.responses import Message, Receive
from lightwell.web.requests.unproved_bodies import unproved_bodies

if TYPE_CHECKING:
    from lightwell.auth.policies.policy import Decision
    from lightwell.auth.policies.trust import TrustDecision
    from lightwell.auth.principals import Principal
    from lightwell.web.dicomweb.resources import DicomwebResource

# The largest body of a native operation. The longest valid one, CopiableAttributes, is 260,000 characters.
BODY_LIMIT = 1 << 20
# Path and query are normalised and hashed before the caller is known. A path may list frames, a query UIDs.
MAX_PATH = 16 << 10
MAX_QUERY = 8 << 10
MAX_PARAMETERS = 200
_MOST_DIGITS = 18  # of a Content-Length; Python refuses to read some thousands
# Of a body that is too large, this much is read and dropped.
DRAIN_LIMIT = 16 << 20

# How requests that reach no operation are counted and logged.
UNKNOWN, PREFLIGHT, STATUS, PAGE = "Unknown", "Preflight", "Status", "Page"
OTHERS = (UNKNOWN, PREFLIGHT, STATUS, PAGE)

PROVED = "lightwell.proved"
"""Of a scope: it is known who sends the request, so that its body may take time (`web.http1.protocol`)."""

_REFUSALS = (AuthenticationError, AccessDeniedError, ExpiredTokenError, WebIdentityError)

Shown = tuple[str, str | None, str | None, str | None]
"""The id of an image set that was read, and the PatientID, StudyInstanceUID and SeriesInstanceUID it has."""
CLIENT_CERTIFICATE = "lightwell.client_certificate"
"""Of a scope: the subject of the certificate that the client has shown, if it was asked for one."""


class Disconnected(Exception):
    """The client closed the connection before its request was complete."""


class Request:
    """The parts of the ASGI scope that matter, and what is learned along the way.

    ``principal`` is whoever it has been proved to come from. ``named`` is who else is to be called its
    caller: the session that it has made, for whoever had none. ``claimed_key`` is the access key whose id it
    states, proved or not. ``decisions`` are those of policies that allowed it, ``refusal`` is why it is
    refused for lack of a proof or of a right. ``labels`` are those of the path, ``resource`` is what it names
    below DICOMweb.

    ``subject`` is whom a genuine token is about, as its ``issuer`` calls that person, where no principal says
    so; ``trust`` is what the trust policy of a role says that somebody takes.

    What was read is in ``shown`` and ``item`` (which frames) where that took a millisecond or less, else in
    the note.
    """

    # Attributes of the class, so that a request sets only what it learns.
    operation = UNKNOWN
    principal: Principal | None = None
    named: str | None = None
    claimed_key: str | None = None
    decisions: tuple[Decision, ...] = ()
    trust: TrustDecision | None = None
    refusal: ApiError | None = None
    labels: Mapping[str, str] | None = None
    resource: DicomwebResource | None = None
    shown: Shown | None = None
    item: str | None = None
    subject: str | None = None
    issuer: str | None = None
    note: AuditNote | None = None
    received = 0

    def __init__(self, scope: Message, id: str) -> None:
        self.scope = scope
        self.id = id
        self.method: str = scope["method"]
        self.path: bytes = scope["raw_path"]
        self.query: bytes = scope["query_string"]
        self.headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.head = dict(self.headers)

    @property
    def caller(self) -> str | None:
        """The ARN of the principal, or what it is called in `named`; None while nobody is proved."""
        if self.named is not None:
            return self.named
        return None if self.principal is None else self.principal.arn

    def decided(self, decisions: tuple[Decision, ...]) -> None:
        """Keep what allowed the request, or some of it."""
        self.decisions = self.decisions + decisions if self.decisions else decisions

    def refused(self, error: ApiError) -> None:
        """Keep why it is refused, if the error says that nobody or not everybody may do this."""
        if isinstance(error, _REFUSALS):
            self.refusal = error

    @property
    def noted(self) -> AuditNote:
        """The note, which is made when it is first asked for: frames have none."""
        if self.note is None:
            self.note = AuditNote()
        return self.note

    def with_query(self, query: bytes) -> Request:
        """The same request, by the same caller and with the same note, as if it had this query."""
        note = self.noted
        made = copy(self)
        made.scope, made.query, made.note = {**self.scope, "query_string": query}, query, note
        return made

    @property
    def client(self) -> str | None:
        peer = self.scope.get("client")
        return peer[0] if peer else None

    @property
    def client_certificate(self) -> str | None:
        """The subject of the certificate that the client has shown and that was verified (RFC 4514)."""
        found: str | None = self.scope.get(CLIENT_CERTIFICATE)
        return found

    def check_size(self) -> None:
        """Raises `UriTooLongError` or `ValidationError` for a path or query that is too long."""
        if len(self.query) > MAX_QUERY:
            raise UriTooLongError(
                f"The query is {len(self.query)} bytes long; the limit is {MAX_QUERY}. "
                "Ask for fewer values at a time, in several requests."
            )
        if self.query.count(b"&") >= MAX_PARAMETERS:
            raise ValidationError(
                f"The query has more than {MAX_PARAMETERS} parameters. Ask for fewer values at a time, "
                "in several requests, or give them as one list where the parameter accepts one."
            )
        if len(self.path) > MAX_PATH:
            raise UriTooLongError(
                f"The path is {len(self.path)} bytes long; the limit is {MAX_PATH}. "
                "Ask for fewer frames at a time, in several requests."
            )

    def prove(self) -> None:
        """It is known who sends it: its body may take as long as it needs."""
        self.scope[PROVED] = True

    def signed(self) -> SignedRequest:
        head = self.head
        return SignedRequest(self.method, self.path, self.query, self.headers, self.client, head)

    @property
    def has_body(self) -> bool:
        """Whether it says that a body follows, be it of no bytes (RFC 9112 §6.3)."""
        return b"content-length" in self.head or b"transfer-encoding" in self.head

    def declared_length(self) -> int | None:
        """Bytes of the body, as Content-Length states them, if it is there. Raises `ValidationError`."""
        declared = self.head.get(b"content-length")
        if declared is None:
            return None
        if not declared.isdigit() or len(declared) > _MOST_DIGITS:
            raise ValidationError(
                f"The Content-Length header is not a number of up to {_MOST_DIGITS} digits."
            )
        return int(declared)

    async def body(self, receive: Receive, limit: int = BODY_LIMIT) -> bytes:
        """The whole body.

        Raises `TooLargeError` above ``limit`` bytes, `ValidationError`, `UnavailableError` if too much of
        unproved senders is held already, and `Disconnected`. How long it may take is up to
        `web.http1.protocol`.
        """
        declared = self.declared_length()
        if (declared is None and b"transfer-encoding" not in self.head) or declared == 0:
            return b""
        if declared is not None and declared > limit and self._is_refused_unread(declared):
            raise TooLargeError(_too_large(limit))
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        body: bytes = message["body"]
        if not message["more_body"] and len(body) <= limit:
            self.received = len(body)
            return body
        return await self._rest(receive, body, bool(message["more_body"]), limit)

    async def _rest(self, receive: Receive, first: bytes, more: bool, limit: int) -> bytes:
        parts, size, held, address = [first], len(first), 0, self.client
        is_proved = PROVED in self.scope
        try:
            while more:
                if size > limit:
                    size += await drain(receive)
                    break
                if not is_proved:
                    count, held = size - held, size
                    unproved_bodies.add(address, count)
                message = await receive()
                if message["type"] != "http.request":
                    raise Disconnected
                size += len(message["body"])
                parts.append(message["body"])
                more = message["more_body"]
        finally:
            unproved_bodies.remove(address, held)
        self.received = size
        if size > limit:
            raise TooLargeError(_too_large(limit))
        return b"".join(parts)

    def _is_refused_unread(self, declared: int) -> bool:
        """Whether a body that is too large is refused at once: not worth draining, or not sent yet."""
        return declared > DRAIN_LIMIT or b"expect" in self.head


async def drain(receive: Receive) -> int:
    """Read and drop the rest of a body, up to `DRAIN_LIMIT` bytes, and return how many there were.

    Many clients read a response only after they have sent the whole request: only then do they see why it was
    refused. After that, the connection still reads for a moment (`web.http1.protocol.Protocol`). Raises
    `Disconnected`.
    """
    count, more = 0, True
    while more and count <= DRAIN_LIMIT:
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        count += len(message["body"])
        more = message["more_body"]
    return count


def _too_large(limit: int) -> str:
    return f"The request body is larger than {limit} bytes."
