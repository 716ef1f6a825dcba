"""Where authorizers may be: no way into networks that only the server reaches."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from lightwell.auth.lambda_authorizer import AuthorizerFailure, HttpTarget, parse_target
from lightwell.errors import ConfigurationError
from lightwell.web.authorizers.http_function import HttpFunction
from lightwell.web.authorizers.target_hosts import check_target, target_hosts
from tests.unit.web.authorizers.test_functions import Endpoint, said

REFUSED = [
    "169.254.169.254",  # credentials of the machine, at most clouds
    "fe80::1",
    "fd00:ec2::254",
    "10.0.0.1",
    "172.16.3.4",
    "192.168.1.1",
    "100.64.0.1",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "255.255.255.255",
    "fc00::1",
    "::ffff:169.254.169.254",  # the same, written as IPv6
    "::ffff:10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "2002:a00:1::1",
]


@pytest.mark.parametrize("address", REFUSED)
def test_calls_no_private_address_whatever_name_leads_there(address: str) -> None:
    hosts = target_hosts(None)
    for is_tls in (False, True):
        assert hosts.allowed("functions.example.org", [address], is_tls=is_tls)[0] == []
        assert hosts.fault(address, is_tls=is_tls) is not None
    # A name may have several addresses: those that are refused are not tried.
    assert hosts.allowed("functions.example.org", [address, "93.184.215.14"], is_tls=True)[0] == [
        "93.184.215.14"
    ]
    # Not even in a list of names: it is the name's owner who says where it leads.
    named = target_hosts("functions.example.org")
    is_link_local = "169.254" in address or "fe80" in address or "ec2" in address or "a9fe" in address
    assert (named.allowed("functions.example.org", [address], is_tls=False)[0] == []) is is_link_local


def test_calls_this_machine_and_public_hosts_by_default() -> None:
    hosts = target_hosts(None)
    for address in ("127.0.0.1", "127.9.9.9", "::1"):
        assert hosts.allowed("localhost", [address], is_tls=False) == ([address], None)
    assert hosts.fault("localhost", is_tls=False) is None
    assert hosts.allowed("example.org", ["93.184.215.14"], is_tls=True) == (["93.184.215.14"], None)
    # By TLS only: the tokens of people are in the calls.
    assert "https:// only" in str(hosts.allowed("example.org", ["93.184.215.14"], is_tls=False)[1])
    assert "https:// only" in str(hosts.fault("example.org", is_tls=False))
    assert hosts.allowed("example.org", [], is_tls=True)[1] == "example.org: it has no address"


def test_calls_only_what_is_listed_where_there_is_a_list() -> None:
    hosts = target_hosts("functions.internal, 10.1.0.0/16, 169.254.7.7, fd12::/16")
    for host, address in (
        ("functions.internal", "192.168.1.1"),
        ("FUNCTIONS.INTERNAL.", "192.168.1.1"),
        ("anything", "10.1.2.3"),
        ("anything", "169.254.7.7"),
        ("anything", "fd12::7"),
    ):
        assert hosts.allowed(host, [address], is_tls=False) == ([address], None)
        assert hosts.fault(host, is_tls=False) is None
    for host, address in (
        ("anything", "10.2.0.1"),
        ("anything", "93.184.215.14"),
        ("localhost", "127.0.0.1"),
    ):
        assert hosts.allowed(host, [address], is_tls=True)[0] == []
    assert target_hosts("a.example").fault("b.example", is_tls=True) is not None


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest", "http://10.0.0.5:9000/", "http://example.org/"]
)
def test_refuses_to_configure_what_would_never_be_called(target: str) -> None:
    with pytest.raises(ConfigurationError, match="authorizer_hosts"):
        check_target(None, parse_target(target))
    for allowed in (
        "http://127.0.0.1:9000/",
        "http://localhost:9000/",
        "https://example.org/f",
        "python:a.b:c",
    ):
        check_target(None, parse_target(allowed))


def test_connects_to_the_address_that_it_has_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads elsewhere when it is asked again (DNS rebinding) changes nothing."""
    endpoint = Endpoint(said(b"1"))
    asked: list[str] = []
    connected: list[str] = []

    async def use(local: HttpFunction) -> None:
        loop = asyncio.get_running_loop()
        connect = loop.create_connection

        async def getaddrinfo(host: str, port: int, **more: Any) -> list[Any]:
            asked.append(host)
            address = "127.0.0.1" if len(asked) == 1 else "169.254.169.254"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

        async def create_connection(factory: Any, host: str, *arguments: Any, **more: Any) -> Any:
            connected.append(host)
            return await connect(factory, host, *arguments, **more)

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr(loop, "create_connection", create_connection)
        port = local._target.port
        function = HttpFunction(
            HttpTarget(False, "rebinding.example", port, f"rebinding.example:{port}", "/")
        )
        assert await function.call(b"{}", "id") == b"1"
        assert (asked, connected) == (["rebinding.example"], ["127.0.0.1"])
        function.close()
        with pytest.raises(AuthorizerFailure) as caught:
            await function.call(b"{}", "id")
        assert caught.value.kind == "misconfigured" and "link-local" in caught.value.reason
        assert connected == ["127.0.0.1"], "nothing was sent there"

    asyncio.run(endpoint.run(use))
    assert b"host: rebinding.example:" in endpoint.requests[0]
