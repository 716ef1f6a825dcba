"""Which hosts authorizers may be called at: whoever configures one makes the server connect somewhere.

Without the setting ``authorizer_hosts``: this machine itself, and with ``https://`` any public address. With
it: what it lists, and nothing else; a listed host may also be private, and be called by ``http://``.
Link-local addresses, among them the one at which clouds hand out credentials, must be listed as addresses. A
name is resolved once for each connection, which then goes to the address that was looked at (against DNS
rebinding).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from lightwell.auth.lambda_authorizer import HttpTarget, PythonTarget
from lightwell.errors import ConfigurationError

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_HOW = "authorizer_hosts does not list it"
_METADATA = ip_address("fd00:ec2::254")
_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052 §2.1


@dataclass(frozen=True, slots=True)
class TargetHosts:
    """The hosts that ``authorizer_hosts`` lists; ``is_set`` False: it is not set."""

    names: frozenset[str]
    networks: tuple[Network, ...]
    is_set: bool

    def fault(self, host: str, *, is_tls: bool) -> str | None:
        """Why a target may not name this host; None if it may, as far as that is known without resolving."""
        if self._names(host):
            return None
        address = _address(host)
        if address is not None:
            return self._fault_of(address, is_tls=is_tls)
        if self.is_set and not self.networks:
            return f"{host} is not allowed: {_HOW}"
        if not self.is_set and not is_tls and host.lower().rstrip(".") != "localhost":
            return f"{host} may be called by https:// only: tokens would be sent in clear, and {_HOW}"
        return None

    def allowed(self, host: str, found: list[str], *, is_tls: bool) -> tuple[list[str], str | None]:
        """The addresses ``found`` for a host that may be connected to; and why not, if none may."""
        allowed, fault = [], None
        for text in found:
            address = _address(text)
            if address is None:
                continue
            if self._names(host) and not _is_link_local(address):
                allowed.append(text)
                continue
            reason = self._fault_of(address, is_tls=is_tls)
            if reason is None:
                allowed.append(text)
            fault = fault or reason
        return allowed, None if allowed else f"{host}: {fault or 'it has no address'}"

    def _names(self, host: str) -> bool:
        return host.lower().rstrip(".") in self.names

    def _fault_of(self, given: Address, *, is_tls: bool) -> str | None:
        address = _embedded(given)
        if any(each in network for network in self.networks for each in {given, address}):
            return None
        if _is_link_local(address):
            return f"{address} is a link-local address, and {_HOW}"
        if self.is_set:
            return f"{address} is not allowed: {_HOW}"
        if address.is_loopback:
            return None
        if not address.is_global or address.is_multicast:
            return f"{address} is not a public address, and {_HOW}"
        return None if is_tls else f"{address} may be called by https:// only, since {_HOW}"


def target_hosts(listed: str | None) -> TargetHosts:
    """What the setting, which has been checked, says."""
    names, networks = set(), []
    for text in (part.strip() for part in (listed or "").split(",")):
        try:
            networks.append(ip_network(text.strip("[]")))
        except ValueError:
            names.add(text.lower().rstrip("."))
    return TargetHosts(frozenset(names - {""}), tuple(networks), listed is not None)


def check_target(listed: str | None, target: HttpTarget | PythonTarget) -> None:
    """Raises `ConfigurationError` for a target at a host that the setting does not allow."""
    if isinstance(target, HttpTarget):
        fault = target_hosts(listed).fault(target.host, is_tls=target.is_tls)
        if fault is not None:
            raise ConfigurationError(f"This target would never be called: {fault}")


def _address(host: str) -> Address | None:
    try:
        return ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 address leads to, or else the address itself."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _is_link_local(address: Address) -> bool:
    embedded = _embedded(address)
    # AWS's metadata service has a private address besides, of IPv6.
    return embedded.is_link_local or embedded == _METADATA
