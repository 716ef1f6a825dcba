"""The cache of parsed elements."""

from __future__ import annotations

import random
import struct

from lightwell.imaging.dataset import parse
from lightwell.imaging.dataset.dictionary import attribute_of
from lightwell.imaging.dataset.element_cache import SeriesCache
from tests.unit.imaging.headers import element, image, item, opened, read, sequence


def parsed_tags(monkeypatch: object) -> list[int]:
    """The tags of the elements that are parsed from now on."""
    from lightwell.imaging.dataset.fast_explicit_parser import FastExplicitParser

    seen: list[int] = []
    parse_element = FastExplicitParser._parse_element

    def spy(self: FastExplicitParser, tag: int, vr: str, raw: bytes, head: int) -> object:
        seen.append(tag)
        return parse_element(self, tag, vr, raw, head)

    monkeypatch.setattr(FastExplicitParser, "_parse_element", spy)  # type: ignore[attr-defined]
    return seen


def slice_of(number: int) -> bytes:
    return image(
        element(0x00080005, "CS", "ISO_IR 100"),
        element(0x00080018, "UI", f"1.2.3.{number}"),
        element(0x00100010, "PN", b"D\xe9"),
        sequence(0x00081140, item(element(0x00081155, "UI", "1.2"))),
        sequence(0x00081115, item(element(0x00081155, "UI", "1.2")), undefined=True),
        element(0x00200013, "IS", str(number)),
    )


def test_parses_only_elements_that_differ(monkeypatch: object) -> None:
    cache = SeriesCache()
    read(slice_of(1), cache)
    seen = parsed_tags(monkeypatch)
    read(slice_of(2), cache)
    assert sorted(attribute_of(tag).keyword for tag in seen) == ["InstanceNumber", "SOPInstanceUID"]


def test_keeps_character_sets_apart() -> None:
    cache = SeriesCache()
    for charset, name in (("ISO_IR 100", "é"), ("ISO_IR 126", "ι"), ("ISO_IR 100", "é")):
        data = image(element(0x00080005, "CS", charset), element(0x00100010, "PN", b"\xe9"))
        assert f'"{name}"'.encode() in read(data, cache).patient


def test_stays_within_its_bounds_and_correct(monkeypatch: object) -> None:
    cache = SeriesCache(limit=100_000)
    chance = random.Random(1)
    for number in range(400):
        value = bytes(chance.randrange(65, 90) for _ in range(chance.randrange(2, 60)))
        data = image(
            element(0x00081030, "LO", value),
            element(0x00091001, "OB", bytes(9000)),
            sequence(0x00081140, item(element(0x00081155, "UI", f"1.{number}")), undefined=True),
        )
        fresh, cached = read(data), read(data, cache)
        assert fresh == cached
        entries = sum(
            len(raw) + len(entry.json)
            for tables in (cache._young, cache._old)
            for table in tables.values()
            for raw, entry in table.elements.items()
        )
        assert entries < 110_000
        assert len(cache.blocks) <= 257
        assert len(cache._young) < 4


def test_keeps_elements_in_use_across_generations(monkeypatch: object) -> None:
    cache = SeriesCache(limit=60_000)
    for number in range(300):
        read(slice_of(number), cache)
    seen = parsed_tags(monkeypatch)
    read(slice_of(1000), cache)
    assert len(seen) <= 3


def test_bounds_the_elements_of_one_file() -> None:
    cache = SeriesCache(limit=50_000)
    many = [element(0x00091001 + n, "UL", struct.pack("<I", n)) for n in range(5000)]
    read(image(*many), cache)
    assert sum(len(table.elements) for table in cache._young.values()) < 200


def test_does_not_cache_long_values() -> None:
    cache = SeriesCache()
    parse.parse_fast(opened(image(element(0x00091001, "OB", bytes(9000)))), cache)
    assert max(len(raw) for table in cache._young.values() for raw in table.elements) < 8200
