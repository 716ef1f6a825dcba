"""A request as received → the Struct of its operation.

msgspec decides within microseconds whether a request is valid; only if it is not does `constraints` go
through it again to say, in AWS's words, everything that is wrong with it.
"""

from __future__ import annotations

import msgspec

from lightwell.errors import ValidationError
from lightwell.wire.body import read_body
from lightwell.wire.constraints import explain
from lightwell.wire.query import read_query
from lightwell.wire.route import Route
from lightwell.wire.routes import ROUTES

# msgspec analyses a type at its first use, and crashes with SIGSEGV if another thread uses a half-analysed
# type. So each is used once before there are threads, and before a server forks.
READY = {route.request: msgspec.json.Decoder(route.request) for route in ROUTES.values()}
"""The types that `parse` makes; a decoder for each proves that msgspec has analysed it."""


def parse(
    route: Route, path_params: dict[str, str], query: list[tuple[str, str]], body: bytes
) -> msgspec.Struct:
    """The request Struct of `route`. Raises `ValidationError` if it violates the service model.

    `path_params` are the labels that `matching.match` found, `query` the decoded pairs. The body is read only
    if the operation has one; unknown members are ignored in it and in the query, and null is the same as
    absent.
    """
    values: dict[str, object] = {}
    if body and (route.payload is not None or route.body):
        content = read_body(body)
        if route.payload is not None:
            values[route.payload] = content
        elif isinstance(content, dict):
            values = {name: content[name] for name in route.body if name in content}
        else:
            raise ValidationError("The request body must be a JSON object")
    if route.query:
        values.update(read_query(route.query, query))
    values.update(path_params)
    try:
        return msgspec.convert(values, route.request)
    except (msgspec.ValidationError, OverflowError, RecursionError) as error:
        raise ValidationError(
            explain(values, route.request) or f"1 validation error detected: {error}"
        ) from None
