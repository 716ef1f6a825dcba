"""The parts of an upload, however it comes in pieces."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightwell.errors import (
    MediaTypeError,
    StorageError,
    TooLargeError,
    UnavailableError,
    ValidationError,
)
from lightwell.web.dicomweb import upload, upload_limits
from lightwell.web.dicomweb.upload import MultipartBody, PartHeaders, receive
from lightwell.web.dicomweb.upload_format import Inflater, UploadFormat, inflater_for, upload_format
from lightwell.web.requests.request import Disconnected, Request

_HEAD = b"\r\nContent-Type: application/dicom\r\n\r\n"
# What may be taken for delimiters.
_near = st.sampled_from(
    [b"\r", b"\n", b"-", b"--", b"\r\n", b"\r\n-", b"\r\n--", b"\r\n--b", b"--b--", b"b", b"\0"]
)
_part = st.lists(st.one_of(_near, st.binary(max_size=8)), max_size=12).map(b"".join)


def _body(parts: Sequence[bytes], before: bytes, after: bytes, head: bytes = _HEAD) -> bytes:
    return before + b"".join(b"--bnd" + head + part + b"\r\n" for part in parts) + b"--bnd--" + after


def _parts(pieces: Sequence[bytes], delimiter: bytes = b"bnd") -> list[bytes]:
    cutter = MultipartBody(delimiter)
    out = b"".join(bytes(each) for piece in pieces for each in cutter.feed(piece))
    cutter.end()
    assert cutter.size == len(out)
    return [out[start : start + length] for start, length in cutter.parts]


@given(
    st.lists(_part, min_size=1, max_size=4),
    st.sampled_from([b"", b"\r\n", b"a preamble\r\n"]),
    st.sampled_from([b"", b"\r\n", b"\r\nan epilogue"]),
    st.lists(st.integers(0, 300), max_size=6),
)
def test_finds_the_same_parts_wherever_the_body_is_cut(
    parts: list[bytes], before: bytes, after: bytes, cuts: list[int]
) -> None:
    body = _body(parts, before, after)
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    assert _parts([body[a:b] for a, b in itertools.pairwise(places)]) == parts


@given(st.binary(max_size=200), st.integers(1, 50))
def test_refuses_or_reads_any_bytes_the_same_way_in_any_pieces(junk: bytes, size: int) -> None:
    def read(pieces: Sequence[bytes]) -> list[bytes] | None:
        try:
            return _parts(pieces)
        except ValidationError:
            return None

    body = b"--bnd\r\n" + junk
    assert read([body]) == read([body[at : at + size] for at in range(0, len(body), size)])


def test_takes_parts_without_headers() -> None:
    assert _parts([_body([b"one", b""], b"\r\n", b"", head=b"\r\n\r\n")]) == [b"one", b""]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--bnd",
        b"--bnd\r\n\r\nhalf",
        b"--bnd\r\n\r\nhalf\r\n--bn",
        b"--bnd\nno: crlf\n\n\n--bnd--",
        b"--other\r\n\r\nx\r\n--other--",
        b"x" * (70 << 10),
        b"--bnd\r\nno colon\r\n\r\nx\r\n--bnd--",
        b"--bnd\r\nlong: " + b"x" * (9 << 10) + b"\r\n\r\nx\r\n--bnd--",
    ],
)
def test_refuses_a_body_that_is_cut_off_or_malformed(body: bytes) -> None:
    with pytest.raises(ValidationError):
        _parts([body])


def test_limits_the_number_of_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "MAX_PARTS", 3)
    with pytest.raises(ValidationError, match="more than 3 parts"):
        _parts([_body([b"x"] * 4, b"", b"")])


@pytest.mark.parametrize(
    "kind",
    [
        'multipart/related; type="application/dicom"; boundary=bnd',
        "multipart/related; type=application/dicom; boundary=bnd",
        'multipart/related; boundary="bnd"',
        "Multipart/Related;boundary=bnd;TYPE=Application/DICOM",
        'multipart/related; type="application/dicom; transfer-syntax=1.2.840.10008.1.2.1"; boundary="bnd"',
        r'multipart/related; start="<a;b\"c>"; boundary="b\nd"',
        "multipart/related; boundary=bnd; boundary=other",
    ],
)
def test_reads_the_boundary_however_it_is_written(kind: str) -> None:
    assert upload_format(kind.encode()) == UploadFormat(b"bnd")


def test_accepts_a_single_file() -> None:
    assert upload_format(b"application/dicom") == UploadFormat(None)
    assert upload_format(b"Application/DICOM; transfer-syntax=1.2.840.10008.1.2.1") == UploadFormat(None)


def test_accepts_metadata() -> None:
    assert upload_format(b"application/dicom+json") == UploadFormat(None, "json")
    kind = b'multipart/related; type="application/dicom+XML"; boundary=bnd'
    assert upload_format(kind) == UploadFormat(b"bnd", "xml")


@pytest.mark.parametrize(
    "kind",
    [
        None,
        b"",
        b"application/octet-stream",
        b"application/json",
        b"multipart/form-data; boundary=bnd",
        b'multipart/related; type="application/json"; boundary=bnd',
    ],
)
def test_refuses_other_media_types(kind: bytes | None) -> None:
    with pytest.raises(MediaTypeError, match="application/dicom"):
        upload_format(kind)


@pytest.mark.parametrize(
    "kind", [b"multipart/related", b"multipart/related; boundary=", b'multipart/related; boundary="\xff"']
)
def test_refuses_a_multipart_type_without_boundary(kind: bytes) -> None:
    with pytest.raises(ValidationError, match="boundary"):
        upload_format(kind)


class _Spool:
    def __init__(self) -> None:
        self.data = b""
        self.largest = 0
        self.most = 0

    def write(self, pieces: list[bytes | memoryview]) -> None:
        self.most = max(self.most, len(pieces))
        size = sum(map(len, pieces))
        self.largest = max(self.largest, size)
        self.data += b"".join(bytes(piece) for piece in pieces)


def _http(head: dict[bytes, bytes]) -> Request:
    scope = {"method": "POST", "raw_path": b"/", "query_string": b"", "headers": list(head.items())}
    return Request(scope, "id")


def _receive(
    pieces: Sequence[bytes],
    limit: int,
    delimiter: bytes | None,
    head: dict[bytes, bytes],
    *,
    proved: bool = True,
    spool: upload_limits.SpoolUsage | None = None,
    inflater: Inflater | None = None,
) -> Any:
    waiting = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})

    async def more() -> dict[str, Any]:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    file = _Spool()
    held = upload_limits.SpoolShare(spool or upload_limits.SpoolUsage(), limit, is_proved=proved)
    with ThreadPoolExecutor(1) as threads:
        request: Any = SimpleNamespace(
            state=SimpleNamespace(threads=threads),
            http=_http(head),
            receive=more,
        )
        try:
            found = asyncio.run(
                receive(request, file, UploadFormat(delimiter), limit, held, inflater=inflater)
            )
        finally:
            held.end()
    return found, file, request


_CHUNKED = {b"transfer-encoding": b"chunked"}


def test_accepts_up_to_its_limit_and_not_a_byte_more() -> None:
    received, spool, request = _receive([b"x" * 60, b"y" * 40], 100, None, _CHUNKED)
    assert received.parts == [(0, 100)] and len(spool.data) == 100 and request.http.received == 100
    with pytest.raises(TooLargeError, match="100 bytes"):
        _receive([b"x" * 60, b"y" * 41], 100, None, _CHUNKED)
    with pytest.raises(TooLargeError):
        _receive([_body([b"x" * 60, b"y" * 41], b"", b"")], 100, b"bnd", _CHUNKED)
    with pytest.raises(TooLargeError):
        _receive([], 100, None, {b"content-length": b"%d" % (1 << 30)})


def test_hashes_the_whole_body_and_writes_it_in_bounded_pieces() -> None:
    pieces = [bytes([n % 256]) * 65536 for n in range(64)]
    received, spool, _ = _receive(pieces, 1 << 30, None, _CHUNKED)
    assert received.digest == hashlib.sha256(b"".join(pieces)).hexdigest()
    assert received.parts == [(0, 64 * 65536)] and spool.data == b"".join(pieces)
    assert spool.largest <= (1 << 20) + 65536


def test_collects_a_limited_number_of_pieces_however_short() -> None:
    received, spool, _ = _receive([b"x"] * 5000, 5000, None, _CHUNKED)
    assert received.parts == [(0, 5000)] and received.digest == hashlib.sha256(b"x" * 5000).hexdigest()
    assert spool.most <= 1024


def test_limits_an_unproved_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_limits, "UNPROVED", 100)
    received, _, _ = _receive([b"x" * 100], 1000, None, _CHUNKED, proved=False)
    assert received.parts == [(0, 100)]
    for pieces, head in (([b"x" * 60, b"y" * 41], _CHUNKED), ([], {b"content-length": b"101"})):
        with pytest.raises(TooLargeError, match="x-amz-content-sha256"):
            _receive(pieces, 1000, None, head, proved=False)
    received, _, _ = _receive([b"x" * 101], 1000, None, _CHUNKED)
    assert received.parts == [(0, 101)]


@pytest.mark.parametrize("proved", [True, False])
def test_limits_all_uploads_together(monkeypatch: pytest.MonkeyPatch, proved: bool) -> None:
    monkeypatch.setattr(upload_limits, "ALL_UNPROVED", 400)
    spool = upload_limits.SpoolUsage()
    others = upload_limits.SpoolShare(spool, 100, is_proved=proved)
    others.add(350)
    _receive([b"x" * 50], 100, None, _CHUNKED, proved=proved, spool=spool)
    with pytest.raises(UnavailableError, match="uploaded") as refused:
        _receive([b"x" * 51], 100, None, _CHUNKED, proved=proved, spool=spool)
    assert refused.value.retry_after == 5
    # What the one kind takes leaves the other its room, and what has gone makes room again.
    _receive([b"x" * 51], 100, None, _CHUNKED, proved=not proved, spool=spool)
    others.end()
    _receive([b"x" * 51], 100, None, _CHUNKED, proved=proved, spool=spool)
    assert (spool.proved, spool.unproved) == (0, 0)


def test_counts_an_upload_as_proved_once_it_is() -> None:
    spool = upload_limits.SpoolUsage()
    one = upload_limits.SpoolShare(spool, 100, is_proved=False)
    one.add(70)
    assert (spool.proved, spool.unproved) == (0, 70)
    one.prove()
    assert (spool.proved, spool.unproved) == (70, 0)
    one.end()
    one.end()
    assert (spool.proved, spool.unproved) == (0, 0)


def test_refuses_a_request_without_a_body() -> None:
    with pytest.raises(ValidationError, match="no body"):
        _receive([], 100, None, {})
    received, _, _ = _receive([], 100, None, {b"content-length": b"0"})
    assert received.parts == []


def test_reports_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(spool: _Spool, pieces: list[bytes | memoryview]) -> None:
        raise StorageError("The spool cannot be written: the disk is full.")

    monkeypatch.setattr(_Spool, "write", full)
    with pytest.raises(UnavailableError, match="disk is full"):
        _receive([b"x"], 100, None, _CHUNKED)


def test_notices_a_client_that_went_away() -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    request: Any = SimpleNamespace(state=SimpleNamespace(threads=None), http=_http(_CHUNKED), receive=gone)
    with pytest.raises(Disconnected):
        asyncio.run(
            receive(
                request,
                _Spool(),
                UploadFormat(None),
                100,
                upload_limits.SpoolShare(upload_limits.SpoolUsage(), 100, is_proved=True),
            )
        )


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=3), st.integers(1, 400))
def test_inflates_every_member_wherever_the_body_is_cut(members: list[bytes], size: int) -> None:
    body = b"".join(gzip.compress(member) for member in members)
    inflater = inflater_for(b"gzip")
    assert inflater is not None
    out = b""
    for start in range(0, len(body), size):
        inflater.add(body[start : start + size])
        while inflater.has_more:
            out += inflater.step()
    inflater.end()
    assert out == b"".join(members)


def test_counts_what_is_inflated_against_both_limits() -> None:
    zipped = gzip.compress(bytes(5000))
    assert len(zipped) < 100
    received, spool, request = _receive([zipped], 5000, None, _CHUNKED, inflater=Inflater())
    assert received.parts == [(0, 5000)] and spool.data == bytes(5000)
    assert received.digest == hashlib.sha256(zipped).hexdigest() and request.http.received == len(zipped)
    with pytest.raises(TooLargeError, match="4999 bytes"):
        _receive([zipped], 4999, None, _CHUNKED, inflater=Inflater())
    bomb = gzip.compress(bytes(upload_limits.UNPROVED + 1))
    with pytest.raises(TooLargeError, match="does not state its hash"):
        _receive([bomb], 1 << 30, None, _CHUNKED, proved=False, inflater=Inflater())


def test_refuses_what_inflates_as_no_image_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightwell.web.dicomweb.upload_format._RATIO_FROM", 1 << 20)
    with pytest.raises(TooLargeError, match="200 times"):
        _receive([gzip.compress(bytes(8 << 20))], 1 << 30, None, _CHUNKED, inflater=Inflater())


@pytest.mark.parametrize("coding", [None, b"", b"identity", b"aws-chunked", b"Identity, aws-chunked"])
def test_takes_a_body_that_is_not_compressed_as_it_is(coding: bytes | None) -> None:
    assert inflater_for(coding) is None


@pytest.mark.parametrize("coding", [b"br", b"deflate", b"zstd", b"gzip, gzip", b"gzip, br", b"\xff"])
def test_refuses_other_codings(coding: bytes) -> None:
    with pytest.raises(MediaTypeError, match="gzip"):
        inflater_for(coding)


def test_keeps_the_headers_of_parts_where_they_count() -> None:
    head = b"CONTENT-type: image/jpeg\r\nContent-Location:  a b \r\nX: y"
    body = b"--bnd\r\n" + head + b"\r\n\r\n1\r\n--bnd\r\n\r\n\r\n--bnd--"
    for size in (1, 3, 1000):
        cutter = MultipartBody(b"bnd", keeps_headers=True)
        for start in range(0, len(body), size):
            cutter.feed(body[start : start + size])
        cutter.end()
        assert cutter.headers == [PartHeaders("image/jpeg", "a b"), PartHeaders()]
    twice = body.replace(b"X: y", b"content-Location: c")
    with pytest.raises(ValidationError, match="more than one content-location"):
        MultipartBody(b"bnd", keeps_headers=True).feed(twice)
    many = (b"--bnd\r\nContent-Location: " + b"x" * 4000 + b"\r\n\r\n\r\n") * 2200
    with pytest.raises(TooLargeError, match="headers of the parts"):
        MultipartBody(b"bnd", keeps_headers=True).feed(many)
