"""The native operations: parse, call, render."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lightwell.errors import NotBuiltError
from lightwell.operations import OPERATIONS
from lightwell.operations.context import Context
from lightwell.web.requests.responses import Response
from lightwell.wire.parse import parse
from lightwell.wire.query import query_pairs
from lightwell.wire.render import render
from lightwell.wire.route import Route


def perform(
    context: Context,
    route: Route,
    params: dict[str, str],
    query: bytes,
    body: bytes,
    allow: Callable[[Any], frozenset[str]] | None = None,
) -> Response:
    """Run one operation from its request to its answer. Blocks; raises `ApiError`.

    ``allow`` is asked about the request before the operation looks anything up; it raises what refuses it,
    and answers which image sets may be changed that the request does not name.
    """
    request: Any = parse(route, params, query_pairs(query), body)
    if allow is not None:
        context = replace(context, reach=allow(request))
    operation = OPERATIONS.get(route.operation)
    if operation is None:
        raise not_built(route)
    rendered = render(route, operation(context, request))
    return Response(rendered.status, rendered.headers, rendered.body)


def not_built(route: Route) -> NotBuiltError:
    return NotBuiltError(
        f"{route.operation} is not built yet; docs/compatibility.md of lightwell lists what is."
    )
