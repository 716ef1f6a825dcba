"""The native operations: parse the request, call the operation, render the response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lightwell.errors import NotBuiltError
from lightwell.operations import OPERATIONS
from lightwell.operations.context import Context
from lightwell.web.aws_json.affected_patients import note_answer, noted
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
    """Run one operation, from its request to its response. Blocks; raises `ApiError`.

    ``allow`` checks the request before the operation looks anything up. It raises an error to refuse it, and
    returns the image sets that may be changed although the request does not name them.
    """
    request: Any = parse(route, params, query_pairs(query), body)
    if allow is not None:
        context = replace(context, authorized_image_sets=allow(request))
    operation = OPERATIONS.get(route.operation)
    if operation is None:
        raise not_built(route)
    with noted(context, route.operation, request):
        answer = operation(context, request)
    note_answer(context, route.operation, answer)
    rendered = render(route, answer)
    return Response(rendered.status, rendered.headers, rendered.body)


def not_built(route: Route) -> NotBuiltError:
    return NotBuiltError(
        f"{route.operation} is not implemented yet. lightwell's docs/compatibility.md lists what is."
    )
