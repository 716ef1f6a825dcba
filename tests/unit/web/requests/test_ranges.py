"""Conditions and byte ranges."""

from __future__ import annotations

import pytest

from lightwell.web.requests import ranges
from lightwell.web.requests.request import Request


def request(method: str = "GET", **headers: str) -> Request:
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"method": method, "raw_path": b"/", "query_string": b"", "headers": given}
    return Request(scope, "id")


@pytest.mark.parametrize(
    ("asked", "start", "length"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-9", 0, 10),
        ("Bytes = 3 - 5", 3, 3),
        ("bytes=3-", 3, 7),
        ("bytes=3-99", 3, 7),
        ("bytes=-4", 6, 4),
        ("bytes=-99", 0, 10),
        # what cannot be read is as if it were not there
        ("bytes=5-3", 0, 10),
        ("bytes=-", 0, 10),
        ("bytes=0-1,3-4", 0, 10),
        ("items=0-1", 0, 10),
        ("bytes=a-b", 0, 10),
        ("bytes=0-" + "9" * 30, 0, 10),
    ],
)
def test_reads_a_range(asked: str, start: int, length: int) -> None:
    assert ranges.requested_range(request(range=asked), 10, b'"e"') == ranges.ByteRange(start, length, 10)


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_rejects_an_unsatisfiable_range(asked: str) -> None:
    assert ranges.requested_range(request(range=asked), 10, b'"e"') is None
    answer = ranges.unsatisfiable(10)
    assert answer.status == 416 and (b"content-range", b"bytes */10") in answer.headers


def test_honours_a_range_only_if_if_range_matches() -> None:
    for tag, is_part in (('"e"', True), ('"f"', False), ('W/"e"', False)):
        found = ranges.requested_range(request(range="bytes=1-2", if_range=tag), 10, b'"e"')
        assert found is not None and found.is_part is is_part
    for method in ("POST", "HEAD"):
        assert ranges.requested_range(request(method, range="bytes=1-2"), 10, b'"e"') == ranges.ByteRange(
            0, 10, 10
        )
    assert ranges.requested_range(request(), 10, b'"e"') == ranges.ByteRange(0, 10, 10)


def test_says_which_bytes_are_sent() -> None:
    assert dict(ranges.ByteRange(2, 3, 10).headers()) == {
        b"content-length": b"3",
        b"accept-ranges": b"bytes",
        b"content-range": b"bytes 2-4/10",
    }
    assert ranges.ByteRange(2, 3, 10).status == 206
    assert dict(ranges.ByteRange(0, 10, 10).headers()) == {
        b"content-length": b"10",
        b"accept-ranges": b"bytes",
    }


@pytest.mark.parametrize(
    ("known", "is_known"),
    [('"e"', True), ('W/"e"', True), ('"a", W/"e"', True), ("*", True), ('"a"', False), ("e", False)],
)
def test_compares_entity_tags_weakly(known: str, is_known: bool) -> None:
    for etag in (b'"e"', b'W/"e"'):
        assert ranges.matches_if_none_match(request(if_none_match=known), etag) is is_known
    assert not ranges.matches_if_none_match(request(), b'"e"')


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        ("gzip", True),
        ("deflate, gzip;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("br", False),
        ("", False),
    ],
)
def test_detects_clients_that_accept_gzip(accepted: str, takes: bool) -> None:
    assert ranges.accepts_gzip(request(accept_encoding=accepted)) is takes
    assert not ranges.accepts_gzip(request())
