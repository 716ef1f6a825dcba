"""Sealed values of rows: opened where they belong, by their key, and nowhere else."""

from __future__ import annotations

import os

import pytest

from lightwell.sealing.errors import SealError
from lightwell.sealing.values import ValueCipher, is_sealed, key_of

KEY = b"k" * 32
ABOUT = b"record.dicom_z 7"


@pytest.mark.parametrize("value", [b"x", b"LWV1", b'"DICOM":{}', os.urandom(70_000)])
def test_a_value_is_opened_where_it_belongs(value: bytes) -> None:
    cipher = ValueCipher(KEY, 2**62 + 5)
    for sealed in (cipher.seal(ABOUT, value), cipher.seal_alike(ABOUT, value)):
        assert is_sealed(sealed) and key_of(sealed) == 2**62 + 5
        assert value not in sealed or len(value) < 5
        assert ValueCipher(KEY, 2**62 + 5).open(ABOUT, sealed) == value
    assert cipher.seal(ABOUT, value) != cipher.seal(ABOUT, value)
    assert cipher.seal_alike(ABOUT, value) == cipher.seal_alike(ABOUT, value)


def test_an_empty_value_is_sealed_too() -> None:
    cipher = ValueCipher(KEY, 1)
    assert cipher.open(ABOUT, cipher.seal(ABOUT, b"")) == b""


def test_no_value_opens_elsewhere_with_another_key_or_after_a_change() -> None:
    cipher = ValueCipher(KEY, 3)
    for sealed in (cipher.seal(ABOUT, b"secret"), cipher.seal_alike(ABOUT, b"secret")):
        with pytest.raises(SealError):
            cipher.open(b"record.dicom_z 8", sealed)
        with pytest.raises(SealError):
            ValueCipher(b"K" * 32, 3).open(ABOUT, sealed)
        for bit in range(8 * len(sealed)):
            changed = bytearray(sealed)
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises(SealError):
                cipher.open(ABOUT, bytes(changed))
        for length in range(len(sealed)):
            with pytest.raises(SealError):
                cipher.open(ABOUT, sealed[:length])


def test_hashes_of_different_data_stores_tell_nothing_of_each_other() -> None:
    digest = b"d" * 32
    assert ValueCipher(KEY, 1).hash(digest) == ValueCipher(KEY, 2).hash(digest) != digest
    assert ValueCipher(b"K" * 32, 1).hash(digest) != ValueCipher(KEY, 1).hash(digest)


@pytest.mark.parametrize("value", [b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08", b'"DICOM":{', b""])
def test_what_is_kept_in_other_ways_does_not_pass_for_sealed(value: bytes) -> None:
    assert not is_sealed(value)
