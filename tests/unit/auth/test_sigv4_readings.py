"""What a signature covers is read in one way: plus signs of a query, and the date of a scope."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
from collections.abc import Callable
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightwell.auth.sigv4 import SignedRequest, read_signature, verify
from lightwell.errors import AuthenticationError
from tests.unit.auth.signing import KEY, NOW, REGION, SECRET, SERVICE, presigned, signed

EMPTY = hashlib.sha256(b"").hexdigest()
STUDIES = f"/datastore/{'a' * 32}/studies"


def read(request: SignedRequest) -> bytes:
    """The query of a verified request, as it is to be read."""
    return verify(read_signature(request), request, SECRET, EMPTY, NOW)


def names(query: bytes) -> list[str]:
    """The values of PatientName, read as a form."""
    return [value for name, value in parse_qsl(query.decode()) if name == "PatientName"]


@pytest.mark.parametrize("sign", [signed, presigned])
@pytest.mark.parametrize(
    ("written", "sent", "meant"),
    [
        ("Last%2BName%2A", b"Last+Name*", "Last+Name*"),
        ("Last%20Name%2A", b"Last+Name*", "Last Name*"),
        ("Last+Name", b"Last+Name", "Last Name"),
        ("Last%2BName%2A", b"Last%2BName*", "Last+Name*"),
        ("A%2BB%20C", b"A%2BB+C", "A+B C"),
        ("A%2BB%2BC", b"A%2BB+C", "A+B+C"),
    ],
)
def test_a_plus_means_what_was_signed(
    sign: Callable[..., SignedRequest], written: str, sent: bytes, meant: str
) -> None:
    request = sign("GET", f"{STUDIES}?PatientName={written}&limit=5")
    changed = dataclasses.replace(
        request, query=request.query.replace(f"PatientName={written}".encode(), b"PatientName=" + sent)
    )
    assert names(read(changed)) == [meant]


def test_a_plus_of_the_native_api_stays_one_however_it_was_signed() -> None:
    request = signed("DELETE", "/tags/arn?tagKeys=a%2Bb")
    assert read(dataclasses.replace(request, query=b"tagKeys=a+b")) == b"tagKeys=a%2Bb"
    assert read(signed("DELETE", "/tags/arn?tagKeys=a+b")) == b"tagKeys=a+b"


_SPACES = st.lists(st.sampled_from(["a", "b", "+", "%2B", "%2b", "%20", "%", "%41"]), max_size=6).map("".join)


@settings(max_examples=300, deadline=None)
@given(_SPACES, _SPACES)
def test_no_two_queries_of_one_signature_are_read_in_two_ways(one: str, other: str) -> None:
    request = signed("GET", f"{STUDIES}?PatientName={one}")
    changed = dataclasses.replace(request, query=f"PatientName={other}".encode())
    try:
        said = read(changed)
    except AuthenticationError:
        return
    assert names(said) == names(read(request))


def _by_date(date: str) -> SignedRequest:
    """Signed by the book, but for the date of the credential, from which the key of the day is made."""
    scope = f"20240517/{REGION}/{SERVICE}/aws4_request"
    timestamp = "20240517T102030Z"
    canonical = f"GET\n/datastore\n\nhost:x\nx-amz-date:{timestamp}\n\nhost;x-amz-date\n{EMPTY}"
    text = f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{SECRET}".encode()
    for part in (date, REGION, SERVICE, "aws4_request", text):
        key = hmac.digest(key, part.encode(), "sha256")
    credential = f"Credential={KEY}/{date}/{REGION}/{SERVICE}/aws4_request"
    value = f"AWS4-HMAC-SHA256 {credential}, SignedHeaders=host;x-amz-date, Signature={key.hex()}"
    headers = [(b"host", b"x"), (b"x-amz-date", timestamp.encode()), (b"authorization", value.encode())]
    return SignedRequest("GET", b"/datastore", b"", headers)


@pytest.mark.parametrize("date", ["2024", "202405", "2", "20240517T", "20240517T102030Z", "20240518"])
def test_takes_the_eight_digits_of_the_timestamp_alone_for_a_date(date: str) -> None:
    assert read(_by_date("20240517")) == b""
    with pytest.raises(AuthenticationError, match="Credential scope") as refused:
        read(_by_date(date))
    assert refused.value.code == "InvalidSignatureException"


def test_takes_each_signed_header_once() -> None:
    request = signed("GET", "/datastore")
    again = [
        (name, value.replace(b"SignedHeaders=host;", b"SignedHeaders=host;host;"))
        for name, value in request.headers
    ]
    assert again != request.headers
    with pytest.raises(AuthenticationError, match="each header only once"):
        read(dataclasses.replace(request, headers=again))
