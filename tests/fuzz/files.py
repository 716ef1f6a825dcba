"""Targets: files of DICOM, their pixels, and what holds several of them."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import struct
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file

from lightwell.codec_pool import input_inspection
from lightwell.codec_pool.messages import InspectInput
from lightwell.codec_pool.sources import Sources
from lightwell.errors import DamagedError, InputError
from lightwell.imaging.assembly.assemble import assemble
from lightwell.imaging.assembly.bulk_parts import BulkParts
from lightwell.imaging.assembly.model_text import Dataset, each_data_set
from lightwell.imaging.assembly.native_model import data_set
from lightwell.imaging.dataset.byte_source import BytesSource, FileSource
from lightwell.imaging.dataset.dicomdir import referenced_files
from lightwell.imaging.dataset.element_cache import SeriesCache
from lightwell.imaging.dataset.original_container import read_original
from lightwell.imaging.dataset.part10 import open_part10
from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels import codestream_structure, jp2_boxes, jpeg_scans, lossless_jpeg, rle
from lightwell.imaging.pixels.codestream_header import read_header
from lightwell.imaging.pixels.encapsulated import EncapsulatedFrames, read_fragments
from tests.fuzz.target import Target, attempt, is_own_fault
from tests.unit.imaging import headers
from tests.unit.imaging.flips import own
from tests.unit.imaging.instances.test_damaged_files import small, survives
from tests.unit.imaging.pixel_files import image, image_of, noise

_MOST = 1 << 20
_FOLDER = Path(tempfile.gettempdir())
_PREAMBLE = bytes(128) + b"DICM"
_SYNTAXES = {"1": "1.2.840.10008.1.2.4.50", "2": "1.2.840.10008.1.2.5"}


def part10(data: bytes) -> None:
    """A file is refused or read; then the fast and the full parser agree, and write valid JSON."""
    survives(_PREAMBLE + data, SeriesCache())


def _part10_seeds() -> Iterator[bytes]:
    for form in ("explicit", "implicit", "big"):
        yield small(form)[len(_PREAMBLE) :]
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 4) + b"\xff\xd8\xff\xd9"
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    for syntax in _SYNTAXES.values():
        table = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
        pixels = headers.element(0x7FE00010, "OB", table + item + end, length=0xFFFFFFFF)
        yield headers.image(pixels, syntax=syntax)[len(_PREAMBLE) :]


def deflated(data: bytes) -> None:
    """A deflated file is refused or inflated, to a mebibyte at most. What begins with 0 is deflated here."""
    body = _deflate(data[1:]) if data[:1] == b"\0" else data[1:]
    whole = _PREAMBLE + headers.meta(headers.DEFLATED) + body
    try:
        opened = open_part10(BytesSource(whole), spool_dir=_FOLDER, inflate_limit=_MOST)
    except InputError as error:
        assert not is_own_fault(error), error
        return
    try:
        assert opened.source.size <= _MOST
    finally:
        if isinstance(opened.source, FileSource):
            opened.source.close()


def _deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def _deflated_seeds() -> Iterator[bytes]:
    yield b"\1" + _deflate(b"".join(headers.uids()))
    yield b"\0" + b"".join(headers.uids())


def codestreams(data: bytes) -> None:
    """Headers of JPEG, JPEG-LS and JPEG 2000, with and without boxes."""
    for codec in ("jpeg", "jpegls", "jpeg2000"):
        attempt(functools.partial(read_header, data, codec), PixelFailure)
    attempt(
        lambda: codestream_structure.has_true_tlm(codestream_structure.read_structure(data)), PixelFailure
    )
    attempt(
        lambda: codestream_structure.without_wrong_tlm(data, codestream_structure.read_structure(data)),
        PixelFailure,
    )
    attempt(lambda: jp2_boxes.codestream_of(data), PixelFailure)
    attempt(lambda: jpeg_scans.read_scans(data), PixelFailure)
    attempt(lambda: lossless_jpeg.check_coded_length(data, _GREY), PixelFailure)


_GREY = noise((8, 8), "u1")


def _codestream_seeds() -> Iterator[bytes]:
    for _, data, _ in own():
        yield bytes(data[:1500])
    yield lossless_jpeg.encode(_GREY, "MONOCHROME2")
    for name in ("JPEG2000.dcm", "SC_rgb_jpeg_gdcm.dcm", "JPEG-LL.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm"):
        path = get_testdata_file(name, download=False)
        if isinstance(path, str):
            pixels = pydicom.dcmread(path)[0x7FE00010].value
            yield bytes(pixels[pixels.index(b"\xff", 16) :][:1500])


def encapsulated(data: bytes) -> None:
    """Fragments and both offset tables. The first byte says how many frames, the second how long a table."""
    if len(data) < 2:
        return
    frames, table = data[0] % 8 or None, data[1] % 64
    source = BytesSource(data[2 + table :])
    extended = (data[2 : 2 + table], data[2 : 2 + table] if data[1] & 64 else None) if table else None
    try:
        fragments = read_fragments(source, 0, -1 if data[1] < 128 else source.size)
        found = EncapsulatedFrames(
            source, fragments, frames, ("jpeg", "rle", "jpeg2000")[data[0] % 3], extended
        )
        for number in range(len(found)):
            assert len(found.read(number)) == found.size(number) <= source.size
            assert b"".join(found.pieces(number)) == found.read(number)
    except PixelFailure:
        pass


def _fragments(*values: bytes) -> bytes:
    listed = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value for value in values)
    return listed + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def _encapsulated_seeds() -> Iterator[bytes]:
    frame = b"\xff\xd8\xff\xe0\xff\xd9"
    yield b"\2\0" + _fragments(b"", frame, frame)
    yield b"\2\0" + _fragments(struct.pack("<2I", 0, 14), frame, frame)
    yield b"\2\0" + _fragments(b"", frame[:4], frame[4:], frame)
    yield b"\2\x10" + struct.pack("<2Q", 0, 14) + _fragments(b"", frame, frame)


def rle_frames(data: bytes) -> None:
    """RLE of a frame of four shapes, told by the first byte: refused, or a frame of just that shape."""
    if not data:
        return
    shape, kind = (((4, 6), "u2"), ((4, 6, 3), "u1"), ((64, 64), "u1"), ((3, 5), "u4"))[data[0] % 4]
    described = image_of(noise(shape, kind)) if data[0] < 128 else image(bits_allocated=1, bits_stored=1)
    with contextlib.suppress(PixelFailure):
        assert rle.decode(data[1:], described).size in (24, 15, 72, 4096)


def _rle_seeds() -> Iterator[bytes]:
    for number, (shape, kind) in enumerate((((4, 6), "u2"), ((4, 6, 3), "u1"), ((64, 64), "u1"))):
        yield bytes([number]) + rle.encode(noise(shape, kind))


def json_and_xml(data: bytes) -> None:
    """Metadata of an upload, in both models: refused, or a Part 10 file that is read again."""
    readers: list[Callable[[], list[Dataset]]] = [
        lambda: [found for _, _, found in each_data_set(data)],
        lambda: [data_set(data)],
    ]
    for read in readers:
        try:
            for found in read():
                pieces = assemble(found, BulkParts([]))
                if all(isinstance(piece, bytes) for piece in pieces):
                    opened = open_part10(
                        BytesSource(b"".join(piece for piece in pieces if isinstance(piece, bytes))),
                        spool_dir=_FOLDER,
                        inflate_limit=_MOST,
                    )
                    assert opened.dataset_offset > 132
        except InputError as error:
            assert not is_own_fault(error), error


def _model_seeds() -> Iterator[bytes]:
    dataset = {
        "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.7"]},
        "00080018": {"vr": "UI", "Value": ["1.2.3.4"]},
        "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
        "0020000E": {"vr": "UI", "Value": ["1.2.3.1"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]},
        "00280030": {"vr": "DS", "Value": [0.5, "1e-3", None]},
        "00081115": {"vr": "SQ", "Value": [{"00081150": {"vr": "UI", "Value": ["1.2"]}}]},
        "00091001": {"vr": "UN", "InlineBinary": "AQID"},
        "00281052": {"vr": "FD", "Value": ["NaN", 1]},
        "00720026": {"vr": "AT", "Value": ["00100010"]},
    }
    yield json.dumps([dataset], ensure_ascii=False).encode()
    yield json.dumps(dataset).encode()
    yield (
        b'<NativeDicomModel><DicomAttribute tag="00080018" vr="UI"><Value number="1">1.2.3.4</Value>'
        b'</DicomAttribute><DicomAttribute tag="00100010" vr="PN"><PersonName number="1"><Alphabetic>'
        b"<FamilyName>Y</FamilyName></Alphabetic></PersonName></DicomAttribute><DicomAttribute"
        b' tag="00081115" vr="SQ"><Item number="1"/></DicomAttribute></NativeDicomModel>'
    )


def containers(data: bytes) -> None:
    """By the first byte: a zip file with its members, a DICOMDIR, or the container of a stored original."""
    kind, data = data[:1], data[1:]
    if kind == b"o":
        with contextlib.suppress(DamagedError):
            read_original(lambda offset, length: data[offset : offset + length], 0, len(data))
        return
    with tempfile.NamedTemporaryFile(prefix="lightwell-fuzz-", dir=_FOLDER) as file:
        file.write(data)
        file.flush()
        path = Path(file.name)
        try:
            if kind == b"d":
                with warnings.catch_warnings():  # pydicom's about odd values
                    warnings.simplefilter("ignore")
                    with path.open("rb") as stream:
                        listed = referenced_files(path, stream)
                for names in listed:
                    assert all(name not in ("", ".", "..") and "/" not in name for name in names)
                return
            sources = Sources(_Opening(), _FOLDER, _MOST)  # type: ignore[arg-type]
            asked = InspectInput(1, "zip", str(path).encode(), "", False)
            for page in input_inspection.inspect(asked, sources):
                for name, _, index in page.members[:4]:
                    _unzip(sources, path, name, index)
            sources.close()
        except InputError:
            pass


class _Opening:
    """The engine, as far as a worker needs it to open a file."""

    def open_input(self, path: str) -> int:
        return os.open(path, os.O_RDONLY)


def _unzip(sources: Sources, path: Path, name: str, index: int) -> None:
    try:
        member = sources._member(str(path), name, index)
    except InputError:
        return
    assert member.source.size <= _MOST
    member.close()


def _container_seeds() -> Iterator[bytes]:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", method) as archive:
            archive.writestr("a/b.dcm", b"abc" * 40)
            archive.writestr("DICOMDIR", b"")
        yield b"z" + packed.getvalue()
    names = headers.element(0x00041500, "CS", "IMAGES\\0001")
    record = headers.item(headers.element(0x00041430, "CS", "IMAGE"), names)
    yield b"d" + headers.part10(headers.sequence(0x00041220, record))
    yield b"o"


FILES = {
    "part10": Target(part10, _part10_seeds),
    "deflated": Target(deflated, _deflated_seeds),
    "codestreams": Target(codestreams, _codestream_seeds),
    "encapsulated": Target(encapsulated, _encapsulated_seeds),
    "rle": Target(rle_frames, _rle_seeds),
    "models": Target(json_and_xml, _model_seeds),
    "containers": Target(containers, _container_seeds),
}
