"""One route of the console's API, and one call of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from lightwell.auth.authorization import RequestContext
from lightwell.auth.policies.actions import AuthorizationRequest
from lightwell.errors import ValidationError
from lightwell.operations.console import pages
from lightwell.web.requests.request import BODY_LIMIT
from lightwell.web.requests.responses import Receive

if TYPE_CHECKING:
    from lightwell.auth.principals import Principal
    from lightwell.operations.context import Context
    from lightwell.web.console.usage_counts import UsageCounts
    from lightwell.web.requests.request import Request
    from lightwell.web.requests.state import AppState
    from lightwell.web.status import Status

Where = Literal["thread", "loop"]
T = TypeVar("T")


class Body(msgspec.Struct, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """The base of request bodies: members in camelCase, unknown ones refused."""


class Answer(msgspec.Struct, rename="camel", kw_only=True):
    """The base of answers: members in camelCase."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request of the API, once its signature is verified and its body parsed.

    ``params`` are the labels of the path, ``query`` what the route knows of the query, ``body`` the Struct of
    the route's decoder, None without one. ``now`` is milliseconds since the epoch. ``receive`` and
    ``payload_hash`` are for routes that read their body themselves: whoever does must refuse one whose
    SHA-256 is not ``payload_hash``, unless that is no digest (`auth.sigv4.is_literal`).
    """

    state: AppState
    usage_counts: UsageCounts
    status: Status
    request: Request
    params: Mapping[str, str]
    query: Mapping[str, str]
    now: int
    signer: Principal | None = None
    own_context: Context | None = None
    request_context: RequestContext | None = None
    body: Any = None
    receive: Receive | None = None
    payload_hash: str | None = None

    @property
    def principal(self) -> Principal:
        """Who signed it; not for unsigned routes."""
        assert self.signer is not None
        return self.signer

    @property
    def ctx(self) -> Context:
        """What operations work with; not for unsigned routes."""
        assert self.own_context is not None
        return self.own_context

    def check(self, required: Sequence[AuthorizationRequest]) -> None:
        """Raises `AccessDeniedError` unless the caller may do all of that too. Blocks.

        What decides is kept on the request; what `allows` asks is not, since no answer may depend on it.
        """
        assert self.request_context is not None
        check = self.state.access_control.check
        self.request.decided(check(self.principal, required, self.request_context))

    def allows(self, required: Sequence[AuthorizationRequest]) -> bool:
        """Whether the caller may do all of that. Blocks."""
        assert self.request_context is not None
        return self.state.access_control.allows(self.principal, required, self.request_context)

    def page(self, most: int = 100) -> int:
        """``maxResults`` of the query: how many items a page may have."""
        text = self.query.get("maxResults", str(most))
        if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= most):
            raise ValidationError(f"maxResults must be a number from 1 to {most}.")
        return int(text)


Required = Callable[[Call], Sequence[AuthorizationRequest]]


@dataclass(frozen=True, slots=True)
class Route:
    """``METHOD /console/api/path``; ``path`` may have labels, as in ``keys/{accessKeyId}``.

    ``perform`` returns a Struct or a dict, which is sent as JSON, None (204), or a whole `Response`; it may
    raise `ApiError`. ``where``: it blocks and runs in a thread, or it is a coroutine and runs on the event
    loop. ``requires`` says what the caller's policies must allow, after parsing and before ``perform``; None
    requires a valid signature only. ``body`` decodes the body; with ``reads_body`` ``perform`` reads it.
    """

    operation: str
    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    perform: Callable[[Call], Any]
    requires: Required | None
    body: msgspec.json.Decoder[Any] | None = None
    query: tuple[str, ...] = ()
    where: Where = "thread"
    is_signed: bool = True
    reads_body: bool = False
    body_limit: int = BODY_LIMIT
    says: str = ""
    """What docs/reference/console-api.md says of it: a sentence for people; the first says what it does."""
    action: str = ""
    """What that page says of its action and resource, as in ``iam:ListAccessKeys on user/*``."""


def on_datastore(action: str, label: str = "datastoreId") -> Required:
    """An action on the data store that a label of the path names."""

    def required(call: Call) -> Sequence[AuthorizationRequest]:
        return call.state.access_control.actions.datastore(action, call.params[label])

    return required


def on_iam(action: str, resource: str) -> Required:
    """An action on a resource of IAM, such as ``user/*`` or ``role/{roleName}`` with a label of the path."""

    def required(call: Call) -> Sequence[AuthorizationRequest]:
        return call.state.access_control.actions.iam(action, resource.format(**call.params))

    return required


def on_any(action: str) -> Required:
    """An action that has no resource: ``*``."""
    return lambda call: [AuthorizationRequest((action,), "*")]


def place(call: Call, *kinds: type) -> tuple[Any, ...] | None:
    """The values in ``nextToken`` of the query, which must be of these types; None without one.

    Raises `ValidationError` for a token of another list.
    """
    token = call.query.get("nextToken")
    return None if token is None else pages.place(token, *kinds)


def next_page(found: Sequence[T], limit: int, values: Callable[[T], Sequence[object]]) -> str | None:
    """The token for what follows ``limit`` items, if more were found than that."""
    return pages.token(values(found[limit - 1])) if len(found) > limit else None


def iso(milliseconds: int) -> str:
    """A time since the epoch in ISO 8601: ``2026-11-30T06:16:08Z``."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
