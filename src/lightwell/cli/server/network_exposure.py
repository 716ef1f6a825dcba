"""Whether other machines could eavesdrop: the server listens on an address they can reach, without TLS."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from typing import Any, NamedTuple

from lightwell.errors import ConfigurationError
from lightwell.settings import Settings


class ListenAddress(NamedTuple):
    """One result of `socket.getaddrinfo`: what to make a socket of and bind it to."""

    family: socket.AddressFamily
    kind: socket.SocketKind
    protocol: int
    address: Any


def check_exposure(settings: Settings, addresses: Iterable[ListenAddress]) -> None:
    """Raises `ConfigurationError` if other machines can reach an address and nothing encrypts the traffic.

    ``addresses`` are all the addresses that the host resolves to. TLS may be here or at a trusted proxy, or
    the settings may say that none is needed.
    """
    if settings.tls_cert is not None or settings.trusted_proxies or settings.insecure_http:
        return
    hosts = [str(each.address[0]) for each in addresses]
    exposed = [host for host in hosts if not _is_loopback(host)]
    if exposed:
        raise ConfigurationError(
            f"Listening on {exposed[0]} port {settings.port} without TLS would let others on the network "
            "read the traffic, including patients' names and images: give --tls-cert and --tls-key, or list "
            "the proxy that terminates TLS in --trusted-proxies. If the network itself is safe, use "
            "--insecure-http or LIGHTWELL_INSECURE_HTTP=true"
        )


def listen_addresses(host: str, port: int, flag: str = "--host") -> list[ListenAddress]:
    """All addresses that the host, given with this flag, resolves to, the preferred one first.

    Raises `ConfigurationError` if it does not resolve.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise ConfigurationError(
            f"The host {host!r} is not an address of this machine; check {flag}"
        ) from None
    return [ListenAddress(family, kind, protocol, address) for family, kind, protocol, _, address in found]


def _is_loopback(text: str) -> bool:
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback
