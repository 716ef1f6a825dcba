"""Which operation a request line means.

The templates of the service model differ in their first segment, their number of segments and their last
literal, so one or two dictionary look-ups decide. A label is percent-decoded as UTF-8 after the path is
split; the ARN of ``/tags/{resourceArn}`` takes everything that follows, so that its slashes may be encoded,
as the SDKs send them, or plain.

A trailing slash is ignored if the path is complete without it. ``/datastore/`` is the data store with the
empty id, which no constraint allows, and not the list of data stores: a client that lost its id must not get
another answer.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import unquote_to_bytes

from lightwell.errors import UnknownOperationError
from lightwell.wire.route import Route
from lightwell.wire.routes import ROUTES

Params = dict[str, str]
# Labels and literals of a template, each with its position among the segments.
_Entry = tuple[Route, tuple[tuple[int, str], ...], tuple[tuple[int, bytes], ...]]
_Key = tuple[str, bytes, int, bytes | None]

_CATCH_ALL = b"tags"
# Bytes of a path that is remembered; that of a frame has 94.
_SHORT = 256


def _table() -> tuple[dict[_Key, _Entry], dict[str, tuple[Route, str]]]:
    table: dict[_Key, _Entry] = {}
    catch_all: dict[str, tuple[Route, str]] = {}
    for route in ROUTES.values():
        segments = route.template.encode().split(b"/")[1:]
        labels = tuple((i, s[1:-1].decode()) for i, s in enumerate(segments) if s.startswith(b"{"))
        literals = tuple((i, s) for i, s in enumerate(segments) if not s.startswith(b"{"))
        if segments[0] == _CATCH_ALL:
            catch_all[route.method] = (route, labels[0][1])
            continue
        last = None if segments[-1].startswith(b"{") else segments[-1]
        key = (route.method, segments[0], len(segments), last)
        if key in table:
            raise AssertionError(f"{route.operation} and {table[key][0].operation} have the same path")
        table[key] = (route, labels, literals)
    return table, catch_all


_TABLE, _TAGS = _table()


def match(method: str, raw_path: bytes) -> tuple[Route, Params]:
    """The route and its decoded labels, by wire name.

    `raw_path` is the path as received, still encoded and without the query. Raises `UnknownOperationError` if
    the service has no operation with this method and path.
    """
    if len(raw_path) > _SHORT:
        return _match(method, raw_path)
    route, params = _known(method, raw_path)
    return route, params.copy()


def _match(method: str, raw_path: bytes) -> tuple[Route, Params]:
    segments = raw_path.split(b"/")
    if segments[0] == b"" and len(segments) > 1:
        del segments[0]
        if segments[0] == _CATCH_ALL and len(segments) > 1:
            if method in _TAGS:
                route, label = _TAGS[method]
                return route, {label: decoded(b"/".join(segments[1:]))}
        else:
            found = _find(method, segments)
            if found is None and segments[-1] == b"":
                segments.pop()
                found = _find(method, segments) if segments else None
            if found is not None:
                return found
    path = raw_path[:200].decode("ascii", "replace")
    raise UnknownOperationError(f"There is no operation {method} {path}")


# Of one image set thousands of frames are requested, all by the same path.
_known = lru_cache(1024)(_match)


def _find(method: str, segments: list[bytes]) -> tuple[Route, Params] | None:
    count = len(segments)
    entry = _TABLE.get((method, segments[0], count, segments[-1]))
    if entry is None:
        entry = _TABLE.get((method, segments[0], count, None))
        if entry is None:
            return None
    route, labels, literals = entry
    for place, literal in literals:
        if segments[place] != literal:
            return None
    return route, {name: decoded(segments[place]) for place, name in labels}


def decoded(segment: bytes) -> str:
    """Text of a segment; invalid UTF-8 and NUL become U+FFFD, which no constraint of a label allows."""
    if b"%" in segment:
        segment = unquote_to_bytes(segment)
    return segment.decode("utf-8", "replace").replace("\0", "\ufffd")
