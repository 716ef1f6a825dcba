"""The vectors that AWS publishes for Signature Version 4."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lightwell.auth.sigv4 import SignedRequest, read_signature, verify
from lightwell.auth.sigv4_canonical import canonical_path
from lightwell.errors import AuthenticationError
from tests.support.shared_data import SHARED

FOLDER = SHARED / "sigv4-vectors"
VECTORS = sorted(FOLDER.rglob("*.sreq"))
# The key pair of the examples in AWS's documentation.
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()

needs_vectors = pytest.mark.skipif(
    not VECTORS, reason="no SigV4 vectors: set LIGHTWELL_TEST_DATA to a folder that holds sigv4-vectors"
)


def load(path: Path) -> tuple[SignedRequest, bytes]:
    head, _, body = path.read_bytes().partition(b"\n\n")
    first, *lines = head.split(b"\n")
    method, _, rest = first.partition(b" ")
    target = rest.rpartition(b" ")[0]
    headers: list[tuple[bytes, bytes]] = []
    for line in lines:
        if line.startswith((b" ", b"\t")):  # a folded line belongs to the header before
            name, value = headers.pop()
            headers.append((name, value + b" " + line))
        else:
            name, _, value = line.partition(b":")
            headers.append((name.lower(), value))
    raw_path, _, query = target.partition(b"?")
    return SignedRequest(method.decode(), raw_path, query, headers), body


@needs_vectors
def test_finds_all_vectors() -> None:
    assert len(VECTORS) >= 30


@needs_vectors
@pytest.mark.parametrize("path", VECTORS, ids=lambda p: p.stem)
def test_accepts_the_published_signature(path: Path) -> None:
    request, body = load(path)
    signature = read_signature(request)
    assert signature.access_key_id == "AKIDEXAMPLE"
    verify(signature, request, SECRET, hashlib.sha256(body).hexdigest(), NOW, service="service")


@needs_vectors
@pytest.mark.parametrize("path", VECTORS, ids=lambda p: p.stem)
def test_makes_the_published_canonical_path(path: Path) -> None:
    expected = path.with_suffix(".creq").read_bytes().split(b"\n")[1]
    assert canonical_path(load(path)[0].raw_path) == expected


@needs_vectors
@pytest.mark.parametrize("path", VECTORS, ids=lambda p: p.stem)
def test_refuses_the_published_request_with_another_body(path: Path) -> None:
    request, body = load(path)
    digest = hashlib.sha256(body + b"x").hexdigest()
    with pytest.raises(AuthenticationError):
        verify(read_signature(request), request, SECRET, digest, NOW, service="service")
