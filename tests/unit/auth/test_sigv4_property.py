"""Whatever botocore signs is accepted, and nothing else."""

from __future__ import annotations

import string

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lightwell.auth.sigv4 import SignedRequest, read_signature
from lightwell.errors import AuthenticationError
from tests.unit.auth.signing import Signer, check, presigned, signed

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

UNRESERVED = string.ascii_letters + string.digits + "-._~"
ESCAPES = st.one_of(
    st.sampled_from(["%3A", "%2F", "%2f", "%20", "%zz", "%", "..", ".", "//", "+", "ሴ", "%E1%88%B4"]),
    st.binary(min_size=1, max_size=1).map(lambda b: f"%{b[0]:02X}"),
)
PIECES = st.one_of(st.text(UNRESERVED, max_size=8), ESCAPES, st.sampled_from("!$&'()*+,;=:@/"))
PATHS = st.lists(PIECES, max_size=8).map(lambda p: "/" + "".join(p))
QUERIES = st.lists(st.one_of(PIECES, st.sampled_from("&=")), max_size=10).map("".join)
NAMES = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=8).map(
    lambda n: "x-my-" + n
)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=4)
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD"])
TOKENS = st.one_of(st.none(), st.text(UNRESERVED + "+/=", min_size=1, max_size=40))
STATED = st.sampled_from(["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"])


@quick
@given(METHODS, PATHS, QUERIES, HEADERS, st.binary(max_size=50), TOKENS)
def test_accepts_what_botocore_signs_in_the_header(
    method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes, token: str | None
) -> None:
    request = signed(method, f"{path}?{query}", headers, body, signer=Signer(token=token))
    assert read_signature(request).session_token == token
    check(request, body)


@quick
@given(METHODS, PATHS, QUERIES, HEADERS, TOKENS, st.integers(1, 604800))
def test_accepts_what_botocore_signs_in_the_query(
    method: str, path: str, query: str, headers: list[tuple[str, str]], token: str | None, expires: int
) -> None:
    request = presigned(method, f"{path}?{query}", headers, signer=Signer(token=token), expires=expires)
    signature = read_signature(request)
    assert signature.session_token == token
    assert signature.expires == expires
    check(request)


@quick
@given(PATHS, st.binary(max_size=50), STATED)
def test_accepts_what_botocore_signs_with_a_literal(path: str, body: bytes, stated: str) -> None:
    check(signed("POST", path, [("X-Amz-Content-SHA256", stated)]), body)


def pairs(query: bytes) -> set[bytes]:
    return {pair if b"=" in pair else pair + b"=" for pair in query.split(b"&") if pair}


def mutated(data: st.DataObject, text: bytes) -> bytes:
    """One byte changed, removed or inserted."""
    place = data.draw(st.integers(0, len(text) - 1))
    kind = data.draw(st.sampled_from(["change", "remove", "insert"]))
    byte = data.draw(st.binary(min_size=1, max_size=1))
    if kind == "remove":
        changed = text[:place] + text[place + 1 :]
    else:
        changed = text[:place] + byte + text[place + (kind == "change") :]
    assume(changed != text)
    return changed


@quick
@given(st.data(), st.booleans())
def test_refuses_every_mutation_of_a_signed_request(data: st.DataObject, in_query: bool) -> None:
    target = "/datastore/abc/imageSet/def?tagKeys=a%3Ab&version=12&x"
    if in_query:
        request, body = presigned("POST", target, signer=Signer(token="tok/en")), b""
    else:
        body = b'{"imageFrameId":"d"}'
        json = [("Content-Type", "application/json")]
        request = signed("POST", target, json, body, signer=Signer(token="tok/en"))
    read = read_signature(request)
    method, path, query, headers = request.method, request.raw_path, request.query, list(request.headers)
    part = data.draw(st.sampled_from(["method", "path", "query", "header", "body"]))
    if part == "method":
        method = data.draw(st.sampled_from(["GET", "PUT", "DELETE", "POSTX"]))
    elif part == "path":
        path = mutated(data, path)
        assume(path.replace(b"//", b"/") != request.raw_path)
    elif part == "query":
        query = mutated(data, query)
        # Says the same: an empty pair more, an empty value without its sign, or an escape in the other case.
        assume(pairs(query) != pairs(request.query))
        assume(query.lower() != request.query.lower())
    elif part == "body":
        body = mutated(data, body) if body else b"x"
    else:
        names = [b"authorization", *read.signed_headers.split(b";")]
        place = data.draw(st.sampled_from([i for i, (name, _) in enumerate(headers) if name in names]))
        name, value = headers[place]
        changed = mutated(data, value)
        assume(changed.split() != value.split())
        headers[place] = (name, changed)
    request = SignedRequest(method, path, query, headers)
    with pytest.raises(AuthenticationError) as refusal:
        again = read_signature(request)
        # The id of the key is not signed: it leads to another secret, or to none. White space between
        # the parts of the header says nothing.
        parts = ("region", "service", "date", "timestamp", "signed_headers", "signature", "session_token")
        same = part == "header" and all(getattr(again, name) == getattr(read, name) for name in parts)
        assume(again.access_key_id == read.access_key_id and not (same and name == b"authorization"))
        check(request, body)
    assert refusal.value.status == 403
