"""Whose request it is. Trusted proxies say for whom they forward (``X-Forwarded-For``, ``-Proto``).

Anyone can send these headers, so they count only if they come from a peer that the settings name, and of the
addresses only those count that such proxies have appended on the right. ``Forwarded`` (RFC 7239) is ignored:
most proxies do not write it, and pass on whatever a client has made up. So is ``X-Forwarded-Host``:
signatures cover ``Host``, which a proxy must leave alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

from lightwell.web.requests.responses import Message

UNKNOWN = "unknown"
"""The client's address if a proxy's header cannot be parsed: neither inside nor outside any network."""

_FOR, _PROTO = b"x-forwarded-for", b"x-forwarded-proto"
# More proxies in a row than anyone has.
_MAX_HOPS = 32
# An IPv6 address with a zone and a port is shorter. Anything longer is not cached, either.
_LONGEST = 80

_Address: TypeAlias = IPv4Address | IPv6Address


class Proxies:
    """The networks of the proxies that one server trusts."""

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def apply(self, scope: Message) -> None:
        """Write the client and the scheme that a trusted peer names into the scope of a request."""
        peer = scope.get("client")
        if peer is None or not self.trusts(peer[0]):
            return
        hops = _list_members(scope, _FOR)
        if hops:
            scope["client"] = (self._client(hops), 0)
        schemes = _list_members(scope, _PROTO)
        if schemes:
            # One for each hop. The request is confidential only if every hop used TLS.
            scope["scheme"] = "https" if all(each.lower() == "https" for each in schemes) else "http"

    def trusts(self, text: str) -> bool:
        """Whether this is the address of one of the proxies."""
        address = _parse_address(text)
        return address is not None and any(
            network.version == address.version and address in network for network in self._networks
        )

    def _client(self, hops: list[str]) -> str:
        """The last address that is not a trusted proxy; if all are, the first, where the request started."""
        for hop in reversed(hops[-_MAX_HOPS:]):
            address = _parse_address(hop)
            if address is None:
                return UNKNOWN
            if not self.trusts(hop):
                return str(address)
        return str(address) if len(hops) <= _MAX_HOPS else UNKNOWN


@lru_cache(maxsize=4096)
def client_network(address: str | None) -> str:
    """What counts as one client where nobody is to take all the room: an IPv4 address, or a /64 of IPv6 (RFC
    6177), of which any host has all. ``unknown`` without an address, itself if it is none."""
    try:
        parsed = ip_address((address or "").partition("%")[0])
    except ValueError:
        return address or "unknown"
    if isinstance(parsed, IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped or f"{IPv6Address(int(parsed) >> 64 << 64)}/64")
    return str(parsed)


def _list_members(scope: Message, name: bytes) -> list[str]:
    """The members of a list, which may be spread over several headers (RFC 9110 §5.3)."""
    found = (value.decode("latin-1") for header, value in scope["headers"] if header == name)
    return [part.strip() for value in found for part in value.split(",")]


def _parse_address(text: str) -> _Address | None:
    return _address(text) if len(text) <= _LONGEST else None


@lru_cache(maxsize=4096)
def _address(text: str) -> _Address | None:
    """An address, with or without a port; None if it is not one. An IPv4-mapped IPv6 address is IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped
