"""Strict-Transport-Security (RFC 6797), where the settings ask for it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightwell.web.requests.request import Request


def hsts(seconds: int) -> tuple[bytes, bytes] | None:
    """The header, None for 0. Neither other hosts of the domain nor lists of browsers are spoken for."""
    return (b"strict-transport-security", b"max-age=%d" % seconds) if seconds else None


def is_local(request: Request) -> bool:
    """Whether the client calls this server by an address, or by a name for its own machine.

    Browsers ignore the header for addresses (§8.1.1); for ``localhost`` it would hold for every other
    program there.
    """
    host = request.head.get(b"host", b"").decode("latin-1").lower()
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    name = name.rstrip(".")
    if not name or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
