"""The console's small API: the steps of every request below ``/console/api/``.

The same steps as for a native operation: signature, body, route, policies, and then the work in a thread.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from lightwell.auth.key_sessions import InvalidLinkError
from lightwell.auth.openid.errors import InvalidIdentityTokenError
from lightwell.errors import AccessDeniedError, ValidationError
from lightwell.web.console.route import Call, Route
from lightwell.web.console.table import match
from lightwell.web.console.usage_counts import UsageCounts
from lightwell.web.requests.authorization import request_context
from lightwell.web.requests.claims import read_claim
from lightwell.web.requests.responses import Receive, Response, plain
from lightwell.wire.query import query_pairs

if TYPE_CHECKING:
    from lightwell.web.requests.request import Request
    from lightwell.web.requests.state import AppState
    from lightwell.web.status import Status

BASE = b"/console/api/"

# In JSON it is always escaped; a backslash before that escape would itself be escaped. PostgreSQL keeps none.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class Api:
    """The API as one process answers it."""

    def __init__(self, state: AppState, status: Status) -> None:
        self._state = state
        self._status = status
        self._usage_counts = UsageCounts(state.stores, state.clock, state.threads)

    async def respond(self, request: Request, receive: Receive) -> Response:
        """The response to one request. Raises `ApiError`."""
        state = self._state
        now = state.clock.now()
        if not (path := request.path[len(BASE) :]):
            path = b"/"
        # An unsigned request learns which paths there are; they are in the documentation.
        route, params = match(request.method, path)
        request.operation, request.labels = route.operation, params
        if not route.is_signed:
            if state.throttle is not None:
                state.throttle.take(route.operation)
            body = await request.body(receive, route.body_limit)
            call = Call(
                state, self._usage_counts, self._status, request, params, _query(route, request.query), now
            )
            try:
                return await _perform(replace(call, body=_parsed(route, body)), route)
            except InvalidLinkError as error:
                raise state.failed_proofs.refusal(error, "console_link", request.client) from None
            except InvalidIdentityTokenError as error:
                raise state.failed_proofs.refusal(error, "web_identity", request.client) from None

        claim = await read_claim(state, request, now)
        principal, digest, body = claim.principal, claim.stated if route.reads_body else None, b""
        if not route.reads_body:
            body = await claim.body(receive, route.body_limit)
        elif not claim.prove_head():
            raise AccessDeniedError("State the hash of the body in x-amz-content-sha256 when signing it.")
        if state.throttle is not None:
            state.throttle.take(route.operation)
        context = state.context(state.caller(principal), request)
        if principal.policies is not None:
            context = replace(context, authorized_image_sets=frozenset())
        call = Call(
            state,
            self._usage_counts,
            self._status,
            request,
            params,
            _query(route, request.query),
            now,
            principal,
            context,
            request_context(request, now),
            _parsed(route, body),
            receive if route.reads_body else None,
            digest,
        )
        return await _perform(call, route)


async def _perform(call: Call, route: Route) -> Response:
    if route.where == "thread":
        return await call.state.in_thread(partial(_in_thread, call, route))
    if route.requires is not None and call.principal.policies is not None:
        await call.state.in_thread(call.check, route.requires(call))
    return _response(await route.perform(call))


def _in_thread(call: Call, route: Route) -> Response:
    if route.requires is not None:
        call.check(route.requires(call))
    return _response(route.perform(call))


def _response(answer: Any) -> Response:
    if isinstance(answer, Response):
        return answer
    if answer is None:
        return Response(204, [], b"")
    return plain(200, msgspec.json.encode(answer))


def _parsed(route: Route, body: bytes) -> Any:
    if route.body is None:
        if body and not route.reads_body:
            raise ValidationError("This request takes no body.")
        return None
    if b"u0000" in body and _NUL.search(body):
        raise ValidationError("The body has a character NUL, which no text here may have.")
    try:
        return route.body.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValidationError(f"The body is not valid: {error}") from None


def _query(route: Route, query: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in query_pairs(query):
        if name.startswith("X-Amz-"):
            continue
        if name not in route.query:
            known = f"It knows {', '.join(route.query)}." if route.query else "It knows none."
            raise ValidationError(f"This request does not know the parameter {name[:60]!r}. {known}")
        if name in found:
            raise ValidationError(f"The parameter {name} is given more than once.")
        if "\0" in value:
            raise ValidationError(f"The parameter {name} has a character NUL, which no value may have.")
        found[name] = value
    return found
