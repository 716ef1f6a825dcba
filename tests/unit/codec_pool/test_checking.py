"""`lightwell data verify`: what is derived from an original, and what earlier releases derived from it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from lightwell.codec_pool.checking import Checker
from lightwell.domain.integrity import RecordToVerify, SharedValues
from lightwell.imaging.dataset.byte_source import BytesSource
from lightwell.imaging.dataset.element_cache import SeriesCache
from lightwell.imaging.dataset.original_container import Original, write_original
from lightwell.imaging.dataset.part10 import stored_part10
from lightwell.imaging.instances.nested_pixels import NestedDecoder
from lightwell.imaging.instances.parse import ParsedInstance, parse_instance
from lightwell.stores.db.compression import compress
from tests.unit.imaging.headers import meta, sequence
from tests.unit.imaging.instances.test_nested_pixels import ICON, JPEG, encapsulated, icon, jpeg, original


@pytest.mark.parametrize("decoded", [True, False])
def test_knows_the_icons_that_earlier_releases_kept_encapsulated(decoded: bool) -> None:
    file_meta = meta(JPEG)
    data = original(JPEG, sequence(ICON, icon(encapsulated(jpeg())), undefined=True))
    decode: Any = NestedDecoder(JPEG) if decoded else lambda *_: None
    part10 = stored_part10(BytesSource(data), len(file_meta))
    stored = parse_instance(part10, SeriesCache(), decode_nested=decode)
    assert (b'"/v8A4A' in stored.fragment) is not decoded
    checker = Checker(cast(Any, None), SeriesCache())
    original_ = container(file_meta, data[len(file_meta) :])
    kept = stored_part10(original_, original_.meta_length)
    assert texts(checker._derived(kept, None, texts(stored))) == texts(stored)
    other = (stored.fragment + b" ", *texts(stored)[1:])
    assert texts(checker._derived(kept, None, other)) != other


@pytest.mark.parametrize("override_z", [None, b""])
def test_takes_a_damaged_override_for_a_fault(override_z: bytes | None) -> None:
    """`stores.collector.integrity` hands over what was damaged as empty."""
    file_meta = meta(JPEG)
    data = original(JPEG, sequence(ICON, icon(encapsulated(jpeg())), undefined=True))
    pack, offset, length = packed(file_meta, data[len(file_meta) :])
    part10 = stored_part10(BytesSource(data), len(file_meta))
    stored = parse_instance(part10, SeriesCache(), decode_nested=NestedDecoder(JPEG))
    fragment, *levels = map(compress, texts(stored))
    held = RecordToVerify(
        *(1, stored.sop_instance_uid, 2, offset, length, override_z, fragment, None, None, None, (1, 2, 3)),
        *(None, [], stored.sop_class_uid, stored.instance_number),
    )
    objects = cast(Any, SimpleNamespace(read=lambda _, start, size: pack[start : start + size]))
    shared = SharedValues({}, dict(enumerate(levels, 1)))
    reasons = [fault.reason for fault in Checker(objects, SeriesCache()).record(held, shared)]
    assert ["cannot be read from the database" in reason for reason in reasons] == [True] * (
        override_z is not None
    ), reasons


def texts(instance: ParsedInstance) -> tuple[bytes, ...]:
    return instance.fragment, instance.patient, instance.study, instance.series


def container(file_meta: bytes, dataset: bytes) -> Original:
    pack, offset, length = packed(file_meta, dataset)
    return Original(lambda start, size: pack[start : start + size], offset, length)


def packed(file_meta: bytes, dataset: bytes) -> tuple[bytes, int, int]:
    """A pack with an original, and where in it that lies."""
    pack = bytearray()

    def append(piece: bytes) -> int:
        pack.extend(piece)
        return len(pack) - len(piece)

    offset, length = write_original(file_meta, BytesSource(dataset), [(0, len(dataset))], append)
    return bytes(pack), offset, length
