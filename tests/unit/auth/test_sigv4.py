"""Signatures in the header and in the query: what is accepted, and what each refusal is called."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime

import pytest
from botocore.auth import SigV4QueryAuth

from lightwell.auth.sigv4 import SignedRequest, read_signature
from lightwell.auth.sigv4_canonical import canonical_path
from lightwell.errors import AuthenticationError
from tests.unit.auth.signing import AT, HOST, KEY, NOW, REGION, SECRET, Signer, check, presigned, signed

BODY = b'{"clientToken":"t"}'
JSON = [("Content-Type", "application/json")]
ARN = "/tags/arn%3Aaws%3Amedical-imaging%3Aus-east-1%3A000000000000%3Adatastore%2Fabc"


def refusal(
    request: SignedRequest, body: bytes = b"", now: float = NOW, **changes: object
) -> tuple[str, str]:
    with pytest.raises(AuthenticationError) as raised:
        check(request, body, now, **changes)
    assert raised.value.status == 403
    return raised.value.code, raised.value.message


def code(request: SignedRequest, body: bytes = b"", now: float = NOW, **changes: object) -> str:
    return refusal(request, body, now, **changes)[0]


def with_header(request: SignedRequest, name: bytes, value: bytes | None) -> SignedRequest:
    """The request with another value of a header; None takes it out."""
    headers = [(n, v) for n, v in request.headers if n != name]
    if value is not None:
        headers.append((name, value))
    return dataclasses.replace(request, headers=headers)


def authorization(request: SignedRequest, change: Callable[[bytes], bytes]) -> SignedRequest:
    value = dict(request.headers)[b"authorization"]
    return with_header(request, b"authorization", change(value))


# Header form


def test_reads_what_the_header_says() -> None:
    signature = read_signature(signed(body=BODY, signer=Signer(token="tok")))
    assert signature.access_key_id == KEY
    assert signature.session_token == "tok"
    assert (signature.region, signature.service, signature.date) == (REGION, "medical-imaging", "20240517")
    assert signature.timestamp == "20240517T102030Z"
    assert signature.signed_at == NOW
    assert signature.payload_hash is None
    assert signature.expires is None


def test_accepts_a_signed_body_with_and_without_its_hash_in_a_header() -> None:
    check(signed(headers=JSON, body=BODY), BODY)
    digest = hashlib.sha256(BODY).hexdigest()
    check(signed(headers=[("X-Amz-Content-SHA256", digest)], body=BODY), BODY)
    check(signed(headers=JSON, body=BODY), BODY, body_sha256=digest)


def test_refuses_another_body() -> None:
    assert code(signed(body=BODY), BODY + b" ") == "InvalidSignatureException"
    stated = [("X-Amz-Content-SHA256", hashlib.sha256(BODY).hexdigest())]
    what, message = refusal(signed(headers=stated, body=BODY), b"other")
    assert what == "InvalidSignatureException"
    assert "x-amz-content-sha256" in message


@pytest.mark.parametrize(
    "literal",
    ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"],
)
def test_a_literal_leaves_the_body_unsigned(literal: str) -> None:
    def never() -> str:
        raise AssertionError("the body need not be hashed")

    request = signed(headers=[("X-Amz-Content-SHA256", literal)], body=BODY)
    check(request, b"anything", body_sha256=never)
    assert code(with_header(request, b"x-amz-content-sha256", None), BODY) == "InvalidSignatureException"


def test_a_literal_cannot_be_slipped_in() -> None:
    request = with_header(signed(body=BODY), b"x-amz-content-sha256", b"UNSIGNED-PAYLOAD")
    assert code(request, b"other") == "InvalidSignatureException"


@pytest.mark.parametrize("stated", ["", "unsigned-payload", "e3b0", "x" * 64])
def test_a_hash_that_is_none_is_refused(stated: str) -> None:
    request = signed(headers=[("X-Amz-Content-SHA256", stated)], body=BODY)
    assert code(request, BODY) == "InvalidSignatureException"


@pytest.mark.parametrize(
    "host", ["localhost:8085", "runtime-127.0.0.1:8085", "dicom-x.example", "[::1]:8085", "x"]
)
def test_takes_any_host_that_the_client_used(host: str) -> None:
    request = signed(body=BODY, host=host)
    check(request, BODY)
    assert code(with_header(request, b"host", b"other"), BODY) == "InvalidSignatureException"


@pytest.mark.parametrize("region", ["us-east-1", "cn-north-1", "local"])
def test_takes_any_region(region: str) -> None:
    check(signed(signer=Signer(region=region)))


@pytest.mark.parametrize(
    ("target", "canonical"),
    [
        (ARN, ARN.replace("%", "%25")),
        ("/tags/arn:aws:x", "/tags/arn%3Aaws%3Ax"),
        ("/datastore/abc", "/datastore/abc"),
        ("/a//b/./c/../d", "/a/b/d"),
        ("//", "/"),
        ("", "/"),
        ("/..", "/"),
        ("/a/", "/a/"),
        ("/ä", "/%C3%A4"),
        ("/~a!", "/~a%21"),
    ],
)
def test_signs_the_path_encoded_once_more(target: str, canonical: str) -> None:
    assert canonical_path(target.encode()) == canonical.encode()


@pytest.mark.parametrize(
    "target", [ARN, ARN + "?tagKeys=a%3Ab&tagKeys=a", "/tags/arn:aws:x/y", "/datastore?b=2&a=1&a"]
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_accepts_encoded_paths_and_repeated_query_names(method: str, target: str) -> None:
    check(signed(method, target))
    check(presigned(method, target))


def test_refuses_a_path_signed_as_it_is_on_the_wire() -> None:
    # As S3 does it: the path of the signature is the path of the wire.
    request = dataclasses.replace(
        signed("GET", ARN.replace("%3A", ":").replace("%2F", "/")), raw_path=ARN.encode()
    )
    assert code(request) == "InvalidSignatureException"


def test_takes_a_query_in_another_order_and_spelling() -> None:
    request = signed("GET", "/datastore?a=1%2F2&b=x%20y&c=")
    check(dataclasses.replace(request, query=b"c&b=x%20y&a=1/2"))
    assert code(dataclasses.replace(request, query=b"a=1%2F2&b=x%20y")) == "InvalidSignatureException"


@pytest.mark.parametrize("sign", [signed, presigned])
@pytest.mark.parametrize("path", ["", "/", "/studies", "/studies/1.2/series", "/instances"])
def test_takes_a_plus_for_a_space_where_a_query_is_a_form(
    sign: Callable[..., SignedRequest], path: str
) -> None:
    # requests writes a plus, and requests-aws4auth signs a space.
    request = sign("GET", f"/datastore/{'a' * 32}{path}?PatientName=Thomas%20Albert&limit=5")
    form = request.query.replace(b"Thomas%20Albert", b"Thomas+Albert")
    assert form != request.query
    check(dataclasses.replace(request, query=form))
    for other in (form.replace(b"+", b"%2B"), form.replace(b"+", b"")):
        assert code(dataclasses.replace(request, query=other)) == "InvalidSignatureException"


@pytest.mark.parametrize("path", ["/imageSet/x", "/searchImageSets", "/studiesx"])
def test_takes_a_plus_for_itself_where_a_query_is_none(path: str) -> None:
    request = signed("GET", f"/datastore/{'a' * 32}{path}?name=a%20b")
    request = dataclasses.replace(request, query=b"name=a+b")
    assert code(request) == "InvalidSignatureException"


def test_folds_white_space_and_joins_repeated_headers() -> None:
    request = signed(headers=[("X-My", "a   b"), ("X-My", " c ")])
    headers = [h for h in request.headers if h[0] != b"x-my"]
    check(dataclasses.replace(request, headers=[*headers, (b"x-my", b" a b"), (b"x-my", b"c  ")]))
    check(dataclasses.replace(request, headers=[*headers, (b"x-my", b"a b,c")]))
    assert code(dataclasses.replace(request, headers=[*headers, (b"x-my", b"c"), (b"x-my", b"a b")])) != ""


def test_takes_a_date_header_where_there_is_no_x_amz_date() -> None:
    request = signed(headers=[("Date", "x")])
    assert b"x-amz-date" not in dict(request.headers)
    check(request)
    later = format_datetime(AT + timedelta(seconds=1)).encode()
    assert code(with_header(request, b"date", later)) == "InvalidSignatureException"
    assert code(with_header(request, b"date", b"yesterday")) == "IncompleteSignature"
    assert code(with_header(request, b"date", None)) == "IncompleteSignature"


@pytest.mark.parametrize("minutes", [-14.99, 0, 14.99])
def test_allows_a_quarter_of_an_hour_of_skew(minutes: float) -> None:
    check(signed(), now=NOW + minutes * 60)


@pytest.mark.parametrize(
    ("minutes", "text"), [(-15.1, "not yet current"), (15.1, "expired"), (60 * 24, "expired")]
)
def test_refuses_more_skew(minutes: float, text: str) -> None:
    what, message = refusal(signed(), now=NOW + minutes * 60)
    assert what == "InvalidSignatureException"
    assert text in message


def test_refuses_a_wrong_secret() -> None:
    assert code(signed(signer=Signer(secret="other"))) == "InvalidSignatureException"
    assert code(signed(), secret=SECRET + "x") == "InvalidSignatureException"


def test_refuses_another_service() -> None:
    what, message = refusal(signed(signer=Signer(service="s3")))
    assert what == "InvalidSignatureException"
    assert "medical-imaging" in message
    check(signed(signer=Signer(service="s3")), service="s3")


def test_refuses_a_scope_of_another_day() -> None:
    request = authorization(signed(), lambda a: a.replace(b"/20240517/", b"/20240516/"))
    what, message = refusal(request)
    assert what == "InvalidSignatureException"
    assert "Credential scope" in message


@pytest.mark.parametrize("separator", [b",", b" , ", b",  "])
def test_reads_the_parts_in_any_order_and_spacing(separator: bytes) -> None:
    def turn(value: bytes) -> bytes:
        algorithm, _, rest = value.partition(b" ")
        return algorithm + b" " + separator.join(reversed(rest.split(b", ")))

    check(authorization(signed(), turn))


# Refusals before any secret is known


@pytest.mark.parametrize("headers", [[], [(b"authorization", b"")], [(b"authorization", b"  ")]])
def test_a_request_without_a_signature_is_missing_one(headers: list[tuple[bytes, bytes]]) -> None:
    request = SignedRequest("GET", b"/datastore", b"maxResults=1", [(b"host", b"x"), *headers])
    assert code(request) == "MissingAuthenticationToken"


@pytest.mark.parametrize(
    "value",
    [
        b"Bearer abc", b"Basic abc", b"AWS AKID:sig", b"aws4-hmac-sha256 x", b"AWS4-HMAC-SHA256",
        b"AWS4-ECDSA-P256-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host, Signature=00",
        b"AWS4-HMAC-SHA256 Credential=a/20240517/r/s/aws4_request",
        b"AWS4-HMAC-SHA256 Credential=a/20240517/r/s/aws4_request, SignedHeaders=host",
        b"AWS4-HMAC-SHA256 SignedHeaders=host, Signature=00",
        b"AWS4-HMAC-SHA256 Credential=a/20240517/r/aws4_request, SignedHeaders=host, Signature=00",
        b"AWS4-HMAC-SHA256 Credential=/20240517/r/s/aws4_request, SignedHeaders=host, Signature=00",
        b"AWS4-HMAC-SHA256 Credential=a/20240517/r/s/aws4_request, SignedHeaders=, Signature=00",
        b"AWS4-HMAC-SHA256 Credential=a/20240517/r/s/aws4_request, SignedHeaders=host, Signature=",
        b"AWS4-HMAC-SHA256 Credential a/20240517/r/s/aws4_request, SignedHeaders=host, Signature=00",
        b"AWS4-HMAC-SHA256 Credential=a/20240517/r/s/aws4_request, Credential=b/20240517/r/s/aws4_request,"
        b" SignedHeaders=host, Signature=00",
        b"AWS4-HMAC-SHA256 Credential=a/20240517/r/s/aws4_request, SignedHeaders=host, Signature=0,"
        b" Signature=0",
        b"AWS4-HMAC-SHA256 Credential=a/20240517/r/s/aws4_request, SignedHeaders=host, XSignature=00",
        b"AWS4-HMAC-SHA256 Credential=a/20240517/r/s/aws4_request, Signature=host, Signature=00",
        b"\xff\xfe", b"AWS4-HMAC-SHA256 \xff",
    ],
)  # fmt: skip
def test_a_malformed_header_is_incomplete(value: bytes) -> None:
    request = with_header(signed(), b"authorization", value)
    assert code(request) == "IncompleteSignature"


@pytest.mark.parametrize(
    "date",
    [
        b"",
        b"today",
        b"20240517",
        b"2024-05-17T10:20:30Z",
        b"20241317T102030Z",
        b"20240517T102030",
        b"\xd9\xa320240517T1020Z",
    ],
)
def test_a_malformed_date_is_incomplete(date: bytes) -> None:
    assert code(with_header(signed(), b"x-amz-date", date)) == "IncompleteSignature"


@pytest.mark.parametrize(
    "name", [b"authorization", b"host", b"x-amz-date", b"x-amz-content-sha256", b"x-amz-security-token"]
)
def test_headers_that_decide_are_given_once(name: bytes) -> None:
    request = signed(headers=[("X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD")], signer=Signer(token="t"))
    again = (name, dict(request.headers)[name])
    assert code(dataclasses.replace(request, headers=[*request.headers, again])) == "IncompleteSignature"


def test_the_host_is_signed() -> None:
    request = authorization(signed(), lambda a: a.replace(b"host;", b""))
    assert "'host'" in refusal(request)[1]
    assert code(request) == "InvalidSignatureException"


def test_signed_headers_exist() -> None:
    request = signed(headers=[("X-My", "a")])
    assert code(with_header(request, b"x-my", None)) == "InvalidSignatureException"
    request = authorization(request, lambda a: a.replace(b"host;", b"host;never;"))
    assert code(request) == "InvalidSignatureException"


def test_the_terminator_is_right() -> None:
    request = authorization(signed(), lambda a: a.replace(b"aws4_request", b"aws4_answer"))
    assert code(request) == "InvalidSignatureException"


# Query form


def test_reads_what_the_query_says() -> None:
    signature = read_signature(presigned(signer=Signer(token="tok/en"), expires=300))
    assert signature.access_key_id == KEY
    assert signature.session_token == "tok/en"
    assert signature.expires == 300
    assert signature.timestamp == "20240517T102030Z"


def test_accepts_a_presigned_request_until_it_expires() -> None:
    request = presigned(target="/datastore?maxResults=5", expires=60)
    for now in (NOW - 14 * 60, NOW, NOW + 60):
        check(request, now=now)
    assert refusal(request, now=NOW + 61)[0] == "InvalidSignatureException"
    assert refusal(request, now=NOW - 16 * 60)[0] == "InvalidSignatureException"
    check(presigned(expires=604800), now=NOW + 604800)


@pytest.mark.parametrize("seconds", [b"0", b"604801", b"-1", b"", b"1.5", b"9999999", b"x", b"%D9%A3"])
def test_refuses_a_life_that_is_out_of_range(seconds: bytes) -> None:
    request = presigned(expires=60)
    query = request.query.replace(b"X-Amz-Expires=60", b"X-Amz-Expires=" + seconds)
    assert code(dataclasses.replace(request, query=query)) == "IncompleteSignature"


@pytest.mark.parametrize("name", ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"])
def test_a_query_that_lacks_a_part_is_incomplete(name: str) -> None:
    request = presigned()
    parts = [p for p in request.query.split(b"&") if not p.startswith(f"X-Amz-{name}=".encode())]
    assert code(dataclasses.replace(request, query=b"&".join(parts))) == "IncompleteSignature"


def test_a_part_of_the_query_is_given_once() -> None:
    request = presigned()
    assert (
        code(dataclasses.replace(request, query=request.query + b"&X-Amz-Expires=9")) == "IncompleteSignature"
    )


def test_a_presigned_body_is_hashed_unless_it_says_otherwise() -> None:
    assert code(presigned("POST"), BODY) == "InvalidSignatureException"
    request = presigned("POST", headers=[("X-Amz-Content-SHA256", hashlib.sha256(BODY).hexdigest())])
    check(request, BODY)
    assert code(request, b"other") == "InvalidSignatureException"


def test_a_presigned_request_may_state_its_payload_in_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    # As the JavaScript SDK does, which moves x-amz- headers into the query.
    monkeypatch.setattr(SigV4QueryAuth, "payload", lambda *_: "UNSIGNED-PAYLOAD")
    check(presigned("POST", "/datastore?X-Amz-Content-Sha256=UNSIGNED-PAYLOAD"), b"anything")
    assert code(presigned("POST"), b"anything") == "InvalidSignatureException"


def test_one_form_at_a_time() -> None:
    request = presigned()
    both = with_header(request, b"authorization", dict(signed().headers)[b"authorization"])
    assert code(both) == "IncompleteSignature"


def test_the_host_of_a_presigned_request_is_signed() -> None:
    assert code(with_header(presigned(), b"host", HOST.encode() + b"x")) == "InvalidSignatureException"
