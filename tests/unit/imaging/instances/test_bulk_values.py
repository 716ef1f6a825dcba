"""Bulk values found again: every one that the JSON names, and no other."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Collection, Mapping

import pytest

from lightwell.imaging.dataset.dicom_json import bulk_name
from lightwell.imaging.dataset.element_cache import SeriesCache
from lightwell.imaging.instances.bulk_values import BulkValue, bulk_values
from lightwell.imaging.instances.parse import parse_instance
from tests.unit.imaging import headers

LONG = bytes(range(256)) * 4097
FORMS = {headers.EXPLICIT: "explicit", headers.IMPLICIT: "implicit", headers.BIG: "big"}


def values(
    data: bytes, override: Mapping[str, object] | None = None, edited: Collection[int] = ()
) -> dict[str, BulkValue]:
    """By name; those that the JSON names."""
    part10 = headers.opened(data)
    found = {value.name: value for value in bulk_values(part10, override, edited)}
    text = parse_instance(part10, SeriesCache(), override=override).dicom.decode()
    if not edited:
        assert text.count('"BulkDataURI"') == len(found)
        assert all(f'"BulkDataURI":"{name}"' in text for name in found)
    return found


def whole(value: BulkValue, step: int = 1000_001) -> bytes:
    return b"".join(value.read(start, step) for start in range(0, value.length, step))


@pytest.mark.parametrize("syntax", FORMS)
def test_finds_values_at_every_depth(syntax: str) -> None:
    form = FORMS[syntax]
    order = ">" if form == "big" else "<"

    def item(*elements: bytes) -> bytes:
        return headers.item(*elements, order=order)

    deep = headers.sequence(
        0x00480105,
        item(headers.element(0x00282000, "OB", b"ab", form=form)),
        item(headers.element(0x00282000, "OB", LONG, form=form)),
        form=form,
    )
    found = values(
        headers.image(
            headers.element(0x00281201, "OW", LONG, form=form),
            headers.element(0x00282000, "OB", LONG[: 1 << 20], form=form),
            headers.sequence(0x00480200, item(deep), undefined=True, form=form),
            headers.element(0x7FE00001, "OV", LONG, form=form),
            syntax=syntax,
            form=form,
        )
    )
    turned = bytearray(LONG)
    turned[::2], turned[1::2] = LONG[1::2], LONG[::2]
    words = bytes(turned) if form == "big" else LONG
    assert {name: (value.vr, value.length) for name, value in found.items()} == {
        bulk_name("00281201"): ("OW", len(LONG)),
        bulk_name("00480200/0/00480105/1/00282000"): ("OB", len(LONG)),
    }
    value = found[bulk_name("00281201")]
    assert whole(value) == words
    assert whole(value, 99_999) == words
    assert value.read(3, 5) == words[3:8]
    assert value.read(len(LONG) - 3, 100) == words[-3:]
    assert whole(found[bulk_name("00480200/0/00480105/1/00282000")]) == LONG


def test_uses_values_of_an_override_instead_of_the_files() -> None:
    data = headers.image(headers.element(0x00420011, "OB", LONG), headers.element(0x00281201, "OW", LONG))
    other = LONG[::-1]
    override = {"00420011": {"vr": "OB", "InlineBinary": base64.b64encode(other).decode()}}
    found = values(data, override)
    assert whole(found[bulk_name("00420011")]) == other
    assert whole(found[bulk_name("00281201")]) == LONG
    assert not values(data, override, edited={0x00420011, 0x00281201})
    short = json.loads('{"00420011":{"vr":"OB","InlineBinary":"AAA="}}')
    assert list(values(data, short)) == [bulk_name("00281201")]


def test_finds_values_that_are_invalid_for_their_vr() -> None:
    odd = struct.pack("<d", 1.5) * (1 << 17) + b"abcd"
    found = values(
        headers.image(
            headers.element(0x00189925, "FD", odd, form="implicit"), syntax=headers.IMPLICIT, form="implicit"
        )
    )
    (value,) = found.values()
    assert (value.vr, whole(value)) == ("UN", odd)
