"""Uploads: names of files become keys, whatever they are; who may read them is one who knows the id."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from lightwell.auth.policies.policy import permissions
from lightwell.auth.policies.validation import check_identity_policy, check_trust_policy
from lightwell.domain.imports import uploads
from lightwell.domain.imports.uploads import PIECE, FileDigest, key_of, name_fault

STORE, UPLOAD, OTHER = "a" * 32, "b" * 32, "c" * 32


@pytest.mark.parametrize(
    "name",
    ["", "/a", "a/", "a//b", ".", "..", "a/../b", "../etc/passwd", "a/./b", "x" * 4097, "a\ud800", "a\0b"],
)
def test_refuses_names_that_lead_elsewhere(name: str) -> None:
    assert name_fault(name) is not None


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("IM0001", "IM0001"),
        ("Müller^Jörg/CT 1/1.dcm", "Müller^Jörg/CT 1/1.dcm"),
        ("a\\b", "a%5Cb"),
        ("a%5Cb", "a%255Cb"),
        ("line\nbreak\x01", "line%0Abreak%01"),
        ("\u202egnp.exe", "%E2%80%AEgnp.exe"),
        (".lightwell-0123456789abcdef.part", "%00.lightwell-0123456789abcdef.part"),
    ],
)
def test_keeps_names_readable(name: str, key: str) -> None:
    assert name_fault(name) is None and key_of(name) == key


def test_keys_are_bounded_and_differ() -> None:
    names = ["é" * 300 + end for end in (".dcm", "x.dcm")]
    names += ["/".join([*["d" * 190] * 10, end]) for end in ("1", "2")]
    names += ["/".join([*["d" * 190] * 9, "e", "1"]), "x" * 4096]
    keys = [key_of(name) for name in names]
    assert len(set(keys)) == len(names)
    assert all(len(key.encode()) <= 700 for key in keys)
    assert all(len(part.encode()) <= 255 for key in keys for part in key.split("/"))
    assert keys[0].endswith(".dcm")


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE])
def test_the_digest_is_that_of_the_pieces(size: int) -> None:
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    digest = FileDigest()
    for start in range(0, size, 3_000_001):
        digest.update(data[start : start + 3_000_001])
    pieces = [sha256(data[start : start + PIECE]).digest() for start in range(0, size, PIECE)]
    assert digest.hexdigest() == sha256(b"".join(pieces)).hexdigest()


def test_the_role_opens_one_upload_to_those_who_know_its_id() -> None:
    text = uploads.access_policy("bucket", STORE)
    assert check_identity_policy(text).text and check_trust_policy(uploads.trust_policy("arn:aws:x")).text
    rights = permissions([text], {}, None)

    def may(action: str, resource: str, **context: str) -> bool:
        return rights.decide(action, f"arn:aws:s3:::{resource}", {"s3:prefix": "", **context}).allowed

    folder = uploads.folder(STORE, UPLOAD)
    assert may("s3:GetObject", f"bucket/{folder}a/b.dcm")
    assert may("s3:ListBucket", "bucket", **{"s3:prefix": folder})
    assert may("s3:PutObject", f"bucket/reports/{STORE}/x/SUCCESS/success.ndjson")
    assert not may("s3:PutObject", f"bucket/{folder}a/b.dcm")
    assert not may("s3:GetObject", f"bucket/{uploads.folder(OTHER, UPLOAD)}a/b.dcm")
    for prefix in ("", "uploads/", f"uploads/{STORE}/", folder[:-1], folder[:-2]):
        assert not may("s3:ListBucket", "bucket", **{"s3:prefix": prefix})
    assert json.loads(text)["Version"] == "2012-10-17"
