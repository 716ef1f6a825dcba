"""Files that are cut off or damaged anywhere: an `InputError` or an instance, and nothing else."""

from __future__ import annotations

import json
import random
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightwell.errors import InputError
from lightwell.imaging.dataset.element_scanner import ElementScanner, ElementSpan, Encoding
from lightwell.imaging.dataset.fast_explicit_parser import FallbackToFullParser
from lightwell.imaging.dataset.parse import parse_fast, parse_fully
from lightwell.imaging.instances.parse import SeriesCache
from tests.unit.imaging import headers
from tests.unit.imaging.dataset.test_parsers_agree import WHEEL, parsed_parts
from tests.unit.imaging.headers import element, image, item, opened, read, sequence
from tests.unit.imaging.instances.test_reader import PIXEL_MODULE

SMALL = ["CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "rtplan.dcm", "liver_1frame.dcm"]


def small(form: str) -> bytes:
    """A file with sequences of both lengths, private elements, pixels and something behind them."""
    syntax = {"explicit": headers.EXPLICIT, "implicit": headers.IMPLICIT, "big": headers.BIG}[form]
    order = ">" if form == "big" else "<"
    inner = element(0x00081155, "UI", "1.2.3", form=form)
    return image(
        element(0x00080005, "CS", "ISO_IR 100", form=form),
        sequence(0x00081115, item(inner, order=order), form=form),
        sequence(
            0x00081140,
            item(
                inner,
                sequence(0x00081115, item(inner, undefined=True, order=order), undefined=True, form=form),
                order=order,
            ),
            item(inner, undefined=True, order=order),
            undefined=True,
            form=form,
        ),
        element(0x00090010, "LO", "ACME", form=form),
        element(0x00091001, "UN", b"\1\2\3\4", form=form),
        element(0x00100010, "PN", b"D\xe9^J", form=form),
        *(() if form != "explicit" else PIXEL_MODULE),
        element(0x7FE00010, "OW", bytes(48), form=form),
        element(0xFFFCFFFC, "OB", bytes(4), form=form),
        syntax=syntax,
        form=form,
    )


def survives(data: bytes, cache: SeriesCache) -> bool:
    """True if ``data`` is read, False if it is refused. Both parsers give the same valid JSON."""
    try:
        part10 = opened(data)
        fast = parsed_parts(parse_fast(part10, cache))
    except (InputError, FallbackToFullParser):
        pass
    else:
        assert fast == parsed_parts(parse_fully(part10))
    try:
        instance = read(data, cache)
    except InputError as error:
        assert str(error)
        assert "cannot be read" not in str(error), error
        return False
    for block in (instance.patient, instance.study, instance.series, b"{" + instance.fragment + b"}"):
        json.loads(block)
    return True


def length_fields(data: bytes) -> Iterator[tuple[int, int, bool]]:
    """Place, size and byte order of the length field of every element and item."""
    part10 = opened(data)
    scanner = ElementScanner(part10.source)
    start = part10.dataset_offset

    def below(spans: list[ElementSpan], depth: int) -> Iterator[tuple[int, int, bool]]:
        for span in spans:
            size = 4 if span.encoding.implicit or span.value - span.start == 12 else 2
            yield span.value - size, size, span.encoding.big
            if span.vr == "SQ" or span.undefined:
                yield span.value + 4, 4, span.encoding.big
                for elements in scanner.scan_items(span, depth):
                    yield from below(elements, depth + 1)

    form = Encoding(implicit=part10.implicit, big=not part10.little_endian)
    yield from below(scanner.scan_dataset(start, form), 0)


@pytest.mark.parametrize("form", ["explicit", "implicit", "big"])
def test_survives_a_file_cut_at_every_byte(form: str) -> None:
    data = small(form)
    cache = SeriesCache()
    assert survives(data, cache)
    read_of = [survives(data[:length], cache) for length in range(len(data))]
    pixels = data.rindex(bytes(48))
    assert not any(read_of[: data.index(b"1.2.3.1\0")])
    # Behind the place of the pixels all that is needed is there.
    assert all(read_of[pixels : pixels + 48])


@pytest.mark.parametrize("form", ["explicit", "implicit", "big"])
def test_survives_every_length_field_being_wrong(form: str) -> None:
    data = small(form)
    cache = SeriesCache()
    fields = list(length_fields(data))
    assert len(fields) > 15
    for offset, size, big in fields:
        old = int.from_bytes(data[offset : offset + size], "big" if big else "little")
        for new in {
            0,
            1,
            2,
            old - 1,
            old + 1,
            old + 2,
            old + 8,
            0x7FFF,
            0xFFFE,
            0xFFFF,
            1 << 31,
            (1 << 32) - 2,
            (1 << 32) - 1,
        }:
            value = (new & ((1 << 8 * size) - 1)).to_bytes(size, "big" if big else "little")
            survives(data[:offset] + value + data[offset + size :], cache)


@pytest.mark.parametrize("form", ["explicit", "implicit", "big"])
def test_survives_every_byte_being_wrong(form: str) -> None:
    data = small(form)
    cache = SeriesCache()
    for offset in range(132, len(data)):
        for value in (0, 0xFF, data[offset] ^ 1, data[offset] ^ 0x80):
            survives(data[:offset] + bytes([value]) + data[offset + 1 :], cache)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=300), st.sampled_from([headers.EXPLICIT, headers.IMPLICIT, headers.BIG, headers.JPEG])
)
def test_survives_any_bytes_for_a_data_set(content: bytes, syntax: str) -> None:
    survives(headers.part10(content, syntax=syntax), SeriesCache())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_survives_any_bytes_for_a_file(content: bytes) -> None:
    for data in (content, bytes(128) + b"DICM" + content):
        try:
            part10 = opened(data)
        except InputError:
            continue
        try:
            parse_fully(part10)
        except InputError:
            continue


def test_survives_a_deflated_file_cut_at_every_byte() -> None:
    plain = small("explicit")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    content = packer.compress(plain[opened(plain).dataset_offset :]) + packer.flush()
    data = headers.part10(content, syntax=headers.DEFLATED)
    assert survives(data, SeriesCache())
    for length in range(132, len(data)):
        try:
            opened(data[:length])
        except InputError:
            continue
        assert length <= len(data) - len(content) or not survives(data[:length], SeriesCache())


def test_needs_little_memory_for_a_file_that_promises_much() -> None:
    promises = [
        image(element(0x00091001, "OB", b"", length=(1 << 31) + 2)),
        image(element(0x00420011, "OB", b"x" * 100, length=1 << 30)),
        image(element(0x00081140, "SQ", b"", length=(1 << 32) - 2)),
        image(element(0x00081140, "SQ", item(), length=headers.UNDEFINED)),
        headers.part10(element(0x00080060, "CS", b"", length=0xFFFE)),
    ]
    tracemalloc.start()
    for data in promises:
        assert not survives(data, SeriesCache())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000


@pytest.mark.slow
@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.endurance)])
@pytest.mark.parametrize("name", SMALL)
def test_survives_real_files_cut_and_damaged_at_many_places(name: str, step: int) -> None:
    """At all of them with a step of one."""
    data = (WHEEL / "test_files" / name).read_bytes()
    cache = SeriesCache()
    for length in range(0, len(data), 100 * step):
        survives_file(data[:length], cache)
    for offset, size, _ in list(length_fields(data))[:2000:step]:
        for value in (0, 0xFF, 0x7F):
            survives_file(data[:offset] + bytes([value] * size) + data[offset + size :], cache)
    chance = random.Random(7)
    for _ in range(3000 // step):
        broken = bytearray(data)
        for _ in range(chance.randrange(1, 6)):
            broken[chance.randrange(132, min(len(data), 6000))] = chance.randrange(256)
        survives_file(bytes(broken), cache)


def survives_file(data: bytes, cache: SeriesCache) -> None:
    try:
        opened(data)
    except InputError:
        return
    survives(data, cache)
