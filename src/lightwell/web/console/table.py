"""All routes of the console's API, and which one a request means."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from lightwell.errors import MethodNotAllowedError, UnknownOperationError, ValidationError
from lightwell.web.console import (
    archive,
    authorizers,
    datastores,
    events,
    health,
    image_sets,
    jobs,
    keys,
    policies,
    roles,
    session,
    sessions,
    studies,
    uploads,
    viewer_token,
)
from lightwell.web.console.route import Route

ROUTES: tuple[Route, ...] = (
    *session.ROUTES,
    *sessions.ROUTES,
    *viewer_token.ROUTES,
    *datastores.ROUTES,
    *image_sets.ROUTES,
    *keys.ROUTES,
    *roles.ROUTES,
    *authorizers.ROUTES,
    *policies.ROUTES,
    *events.ROUTES,
    *health.ROUTES,
    *studies.ROUTES,
    *archive.ROUTES,
    *uploads.ROUTES,
    *jobs.ROUTES,
)

OPERATIONS = tuple(route.operation for route in ROUTES)
UNSIGNED = frozenset(route.operation for route in ROUTES if not route.is_signed)
"""Those that need no signature, and say nothing to pages of other origins."""

_Segments = tuple[str, ...]


def _table() -> dict[int, list[tuple[_Segments, Route]]]:
    """The routes by the number of segments of their paths, those with literals before those with labels."""
    table: dict[int, list[tuple[_Segments, Route]]] = {}
    for route in ROUTES:
        segments = tuple(route.path.split("/"))
        table.setdefault(len(segments), []).append((segments, route))
    for routes in table.values():
        routes.sort(key=lambda entry: [segment.startswith("{") for segment in entry[0]])
    if len(set(OPERATIONS)) != len(OPERATIONS):
        raise AssertionError("two routes of the console have the same operation")
    return table


_TABLE = _table()


def match(method: str, path: bytes) -> tuple[Route, dict[str, str]]:
    """The route of a path below ``/console/api/``, still encoded, and its decoded labels.

    Raises `UnknownOperationError`, and `MethodNotAllowedError` for a path that has other methods.
    """
    segments = path.split(b"/")
    others: list[str] = []
    for pattern, route in _TABLE.get(len(segments), ()):
        if not all(
            given != b"" if each.startswith("{") else given == each.encode()
            for each, given in zip(pattern, segments, strict=True)
        ):
            continue
        if route.method != method:
            others.append(route.method)
            continue
        return route, {
            each[1:-1]: _label(given)
            for each, given in zip(pattern, segments, strict=True)
            if each.startswith("{")
        }
    if others:
        raise MethodNotAllowedError(f"Use {' or '.join(others)} here.", ", ".join(others))
    raise UnknownOperationError(
        "The console's API has no such path; docs/reference/console-api.md lists what it has."
    )


def _label(encoded: bytes) -> str:
    try:
        label = unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        raise ValidationError("The path is not valid UTF-8.") from None
    if "\0" in label:
        raise ValidationError("The path has a character NUL, which no name here has.")
    return label
