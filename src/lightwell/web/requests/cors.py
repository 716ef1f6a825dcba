"""Cross-origin requests from browsers (the Fetch standard), without cookies or other ambient credentials.

The page itself signs every request, so an origin that is allowed learns nothing beyond what its own keys may
read.
"""

from __future__ import annotations

import re

from lightwell.web.requests.responses import Headers, Response

_EXPOSED = (
    b"x-amzn-requestid, x-amzn-errortype, content-type, content-encoding, content-length, content-range,"
    b" content-location, accept-ranges, etag, warning, www-authenticate, x-lightwell-level,"
    b" x-lightwell-levels"
)
_METHODS = b"GET, POST, PUT, DELETE, HEAD, OPTIONS"
_HEADER_LIST = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, \t-]{0,2048}")
_DEFAULT_HEADERS = (
    b"authorization, accept, content-type, range, if-none-match, x-amz-date, x-amz-security-token,"
    b" x-amz-content-sha256, x-amz-decoded-content-length"
)
_DAY = b"86400"


class Cors:
    """What the setting ``cors_origins`` allows: ``*``, or origins separated by commas; empty allows none."""

    def __init__(self, origins: str) -> None:
        names = [name.strip().rstrip("/") for name in origins.split(",") if name.strip()]
        self._any = "*" in names
        self._origins = {name.encode() for name in names}

    def allowed(self, origin: bytes | None) -> Headers:
        """The headers for a response to a request from ``origin``; none if it may not read the response."""
        if origin is None:
            return [] if self._any or not self._origins else [(b"vary", b"origin")]
        if self._any:
            return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _EXPOSED)]
        if origin in self._origins:
            return [
                (b"access-control-allow-origin", origin),
                (b"access-control-expose-headers", _EXPOSED),
                (b"vary", b"origin"),
            ]
        return [(b"vary", b"origin")] if self._origins else []

    def preflight(self, requested_headers: bytes | None) -> Response:
        """The response to a preflight; ``requested_headers`` is its Access-Control-Request-Headers.

        They are echoed, since ``*`` does not cover Authorization.
        """
        if requested_headers is None or not _HEADER_LIST.fullmatch(requested_headers):
            requested_headers = _DEFAULT_HEADERS
        return Response(
            204,
            [
                (b"access-control-allow-methods", _METHODS),
                (b"access-control-allow-headers", requested_headers),
                (b"access-control-max-age", _DAY),
            ],
            b"",
        )
