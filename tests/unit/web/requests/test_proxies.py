"""What is read of ``X-Forwarded-For`` and ``X-Forwarded-Proto``."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from lightwell.web.requests.proxies import UNKNOWN, Proxies

PROXIES = Proxies([ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")])


def scope(peer: str | None, *headers: tuple[str, str], scheme: str = "http") -> dict[str, Any]:
    sent = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return {"client": None if peer is None else (peer, 1), "scheme": scheme, "headers": sent}


def client(peer: str, *values: str) -> str:
    made = scope(peer, *(("X-Forwarded-For", value) for value in values))
    PROXIES.apply(made)
    return str(made["client"][0])


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["198.51.100.7"], "198.51.100.7"),
        (["203.0.113.5, 198.51.100.7"], "198.51.100.7"),
        (["203.0.113.5, 198.51.100.7, 10.2.3.4"], "198.51.100.7"),
        (["203.0.113.5", "198.51.100.7", "10.2.3.4"], "198.51.100.7"),
        (["198.51.100.7:4711"], "198.51.100.7"),
        (["[2001:db9::1]:4711, 2001:db8::2"], "2001:db9::1"),
        (["2001:db9::1"], "2001:db9::1"),
        (["::ffff:198.51.100.7"], "198.51.100.7"),
        (["10.0.0.9, 10.0.0.8"], "10.0.0.9"),
        (["nonsense, 198.51.100.7"], "198.51.100.7"),
        (["nonsense"], UNKNOWN),
        (["fe80::1%" + "x" * 100], UNKNOWN),
        (["198.51.100.7, unknown"], UNKNOWN),
        (["198.51.100.7,"], UNKNOWN),
        ([""], UNKNOWN),
        (["198.51.100.7, " + ", ".join(["10.0.0.1"] * 40)], UNKNOWN),
    ],
)
def test_uses_the_last_address_that_is_not_a_proxy(values: list[str], found: str) -> None:
    assert client("10.0.0.1", *values) == found


@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1"])
def test_recognises_a_proxy_by_any_spelling_of_its_address(peer: str) -> None:
    assert client(peer, "198.51.100.7") == "198.51.100.7"


@pytest.mark.parametrize("peer", ["11.0.0.1", "2001:db9::1", "testclient", ""])
def test_trusts_no_other_peer(peer: str) -> None:
    made = scope(peer, ("X-Forwarded-For", "198.51.100.7"), ("X-Forwarded-Proto", "https"))
    before = dict(made)
    PROXIES.apply(made)
    assert made == before


def test_leaves_a_request_alone_if_the_proxy_adds_nothing() -> None:
    for made in (scope("10.0.0.1", scheme="https"), scope(None, ("X-Forwarded-For", "198.51.100.7"))):
        before = dict(made)
        PROXIES.apply(made)
        assert made == before


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["https"], "https"),
        (["HTTPS"], "https"),
        (["http"], "http"),
        (["https, https"], "https"),
        (["https, http"], "http"),
        (["http", "https"], "http"),
        (["wss"], "http"),
        ([""], "http"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_treats_as_tls_what_was_tls_on_every_hop(values: list[str], found: str, scheme: str) -> None:
    made = scope("10.0.0.1", *(("X-Forwarded-Proto", value) for value in values), scheme=scheme)
    PROXIES.apply(made)
    assert made["scheme"] == found
