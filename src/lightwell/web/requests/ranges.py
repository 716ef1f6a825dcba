"""Conditional requests and byte ranges (RFC 9110 §13 and §14), and gzip for JSON.

Only a single range is served; lists, other units and malformed ones are ignored, as the RFC allows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lightwell.web.requests.negotiation import quality
from lightwell.web.requests.request import Request
from lightwell.web.requests.responses import Headers, Response

_RANGE = re.compile(rb"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE)
_TAG = re.compile(rb'(?:W/)?("[^"]*")')


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes to send: ``length`` of ``total``, from ``start`` on."""

    start: int
    length: int
    total: int

    @property
    def is_part(self) -> bool:
        return self.length != self.total

    @property
    def status(self) -> int:
        return 206 if self.is_part else 200

    def headers(self) -> Headers:
        """``content-length``, ``accept-ranges`` and, for a part, ``content-range``."""
        found = [(b"content-length", b"%d" % self.length), (b"accept-ranges", b"bytes")]
        if self.is_part:
            end = self.start + self.length - 1
            found.append((b"content-range", b"bytes %d-%d/%d" % (self.start, end, self.total)))
        return found


def matches_if_none_match(request: Request, etag: bytes) -> bool:
    """Whether the client already has this representation, by its If-None-Match: then respond with 304."""
    known = request.head.get(b"if-none-match")
    if known is None:
        return False
    if known.strip() == b"*":
        return True
    (entity_tag,) = _TAG.findall(etag)
    return entity_tag in _TAG.findall(known)


def not_modified(etag: bytes) -> Response:
    return Response(304, [(b"etag", etag), (b"vary", b"accept")], b"")


def requested_range(request: Request, total: int, etag: bytes, *, method: str = "GET") -> ByteRange | None:
    """Which bytes the client requests, all of them if it names no range; None if the range is unsatisfiable.

    A range counts only for ``method`` (RFC 9110 §14.2: that is GET, unless an operation says otherwise), and
    only if If-Range, when given, names the strong ``etag``.
    """
    range_header = request.head.get(b"range")
    whole = ByteRange(0, total, total)
    if range_header is None or request.method != method:
        return whole
    condition = request.head.get(b"if-range")
    found = _RANGE.fullmatch(range_header)
    if found is None or (condition is not None and (condition.strip() != etag or etag.startswith(b"W/"))):
        return whole
    first, last = found[1], found[2]
    if not first and not last:
        return whole
    if not first:
        length = min(int(last), total)
        return ByteRange(total - length, length, total) if length else None
    start, end = int(first), int(last) if last else total - 1
    if last and end < start:
        return whole
    if start >= total:
        return None
    return ByteRange(start, min(end, total - 1) - start + 1, total)


def unsatisfiable(total: int) -> Response:
    """416, with the total number of bytes."""
    body = b'{"message":"The resource has %d bytes, none of them in the requested range."}' % total
    return Response(
        416,
        [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"content-range", b"bytes */%d" % total),
            (b"x-amzn-errortype", b"RangeNotSatisfiableException"),
        ],
        body,
        "RangeNotSatisfiableException",
    )


def accepts_gzip(request: Request) -> bool:
    """Whether the client accepts a body with ``content-encoding: gzip``."""
    accepted = request.head.get(b"accept-encoding")
    if accepted is None:
        return False
    return bool(quality(accepted.decode("latin-1"), "gzip"))
