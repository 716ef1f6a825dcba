"""Whether others than this machine could listen to what is served: an address that they reach, and no TLS."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address

from lightwell.errors import ConfigurationError
from lightwell.settings import Settings


def check_exposure(settings: Settings, addresses: Iterable[str]) -> None:
    """``addresses`` are all that the host stands for.

    Raises `ConfigurationError` if one is not of this machine alone, unless there is TLS, here or at a proxy
    that the settings name, or they say that there need be none.
    """
    if settings.tls_cert is not None or settings.trusted_proxies or settings.insecure_http:
        return
    open_to_others = [address for address in addresses if not _is_loopback(address)]
    if open_to_others:
        raise ConfigurationError(
            f"Others could read what goes to and from {open_to_others[0]} port {settings.port}, names and "
            "images of patients among it, since there is no TLS: give --tls-cert and --tls-key, or name the "
            "proxy that does it in --trusted-proxies. Where the network itself is safe, --insecure-http or "
            "LIGHTWELL_INSECURE_HTTP=true says so"
        )


def addresses(settings: Settings) -> list[str]:
    """All addresses that the host of the settings stands for; none if it is no address of this machine."""
    try:
        found = socket.getaddrinfo(
            settings.host or None, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror:
        return []
    return [str(address[0]) for *_, address in found]


def _is_loopback(text: str) -> bool:
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback
