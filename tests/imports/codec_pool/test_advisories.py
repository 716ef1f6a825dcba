"""Published attacks on other image archives: files that misuse a decoder elsewhere.

CVE-2026-5437 to 5445 and 10528 are those of Orthanc (CERT/CC VU#536588), CVE-2026-32711 that of pydicom;
"DCMTK" and "GDCM" name what their advisories have in common. One of them is no file: 5440, a Content-Length
that memory is set aside for, is tried by `tests/api/http/test_http.py` and `tests/fuzz/http_surface.py`. All
files are imported in one job each way, by the codec workers of an engine, and each is judged by its own line
of the report: it is imported, with its pixels as one blob where they cannot be decoded, or refused for what
is wrong with it. None may end a worker, and none be called a fault of ours.
"""

from __future__ import annotations

import io
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from lightwell.codec_pool.render_requests import NotRendered, Rendered
from lightwell.errors import TooLargeError
from lightwell.operations import import_jobs
from lightwell.web.dicomweb.upload_format import Inflater
from tests.support.ct_files import ct, write
from tests.support.imports import Report, importing
from tests.unit.codec_pool.test_render_worker import Pack
from tests.unit.imaging.headers import EXPLICIT, IMPLICIT, element, image, item, meta, sequence, uids

RLE, J2K, JPEG, DEFLATED = (
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.1.99",
)
IMPORTED, REFUSED, EITHER = "imported", "refused", "either"
BLOB = "as one blob"
PAM = b"P7\nWIDTH 65537\nHEIGHT 65537\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n" + bytes(64)
FRAGMENT_OF_4_GB = b"\xfe\xff\0\xe0\0\0\0\0\xfe\xff\0\xe0\xfe\xff\xff\xff"


def u16(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


def pixels(
    rows: int = 2, columns: int = 2, *, samples: int = 1, bits: int = 8, stored: int | None = None
) -> list[bytes]:
    """The Image Pixel module without pixels."""
    colours = "MONOCHROME2" if samples == 1 else "RGB"
    return [
        element(0x00280002, "US", u16(samples)),
        element(0x00280004, "CS", colours),
        *([element(0x00280006, "US", u16(0))] if samples > 1 else []),
        element(0x00280010, "US", u16(rows)),
        element(0x00280011, "US", u16(columns)),
        element(0x00280100, "US", u16(bits)),
        element(0x00280101, "US", u16(bits if stored is None else stored)),
        element(0x00280102, "US", u16((bits if stored is None else stored) - 1 & 0xFFFF)),
        element(0x00280103, "US", u16(0)),
    ]


def native(data: bytes) -> bytes:
    return element(0x7FE00010, "OW", data)


def encapsulated(*frames: bytes) -> bytes:
    return (
        element(0x7FE00010, "OB", encapsulate(list(frames)), length=0xFFFFFFFF) + b"\xfe\xff\xdd\xe0\0\0\0\0"
    )


def replaced(elements: list[bytes], *others: bytes) -> list[bytes]:
    tags = {each[:4] for each in others}
    return [each for each in elements if each[:4] not in tags] + list(others)


def with_meta(group: bytes) -> bytes:
    return bytes(128) + b"DICM" + group + b"".join(uids())


def nested(depth: int, form: str = "explicit", vr: str = "SQ") -> bytes:
    content = element(0x00080100, "SH", "x", form=form)
    for _ in range(depth):
        content = sequence(0x00400275, item(content), form=form, vr=vr)
    return content


def deflated(data: bytes) -> bytes:
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = squeezed.compress(b"".join(uids()) + data) + squeezed.flush()
    return bytes(128) + b"DICM" + meta(DEFLATED) + body


def rle(segments: int, *offsets: int, data: bytes = b"\x03\1\2\3\4") -> bytes:
    places = [*offsets, *[0] * (15 - len(offsets))]
    return struct.pack("<16I", segments, *places) + data


def j2k(rows: int, columns: int, components: int = 1) -> bytes:
    """The head of a codestream that states this size."""
    size = struct.pack(">HIIIIIIIIH", 0, columns, rows, 0, 0, columns, rows, 0, 0, components)
    siz = size + b"\7\1\1" * components
    cod = b"\0\0\0\1\0\0\4\4\0\1"
    return (
        b"\xff\x4f\xff\x51" + struct.pack(">H", len(siz) + 2) + siz
        + b"\xff\x52" + struct.pack(">H", len(cod) + 2) + cod
        + b"\xff\x5c\0\4\x40\x40" + b"\xff\x90\0\x0a\0\0\0\0\0\0\0\1\xff\x93" + bytes(20) + b"\xff\xd9"
    )  # fmt: skip


def jpeg(rows: int, columns: int, components: int) -> bytes:
    parts = b"".join(bytes((n + 1, 0x11, 0)) for n in range(components))
    frame = struct.pack(">HBHHB", 8 + 3 * components, 8, rows, columns, components) + parts
    return b"\xff\xd8\xff\xc0" + frame + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + bytes(10) + b"\xff\xd9"


def explicit_length(value: int) -> bytes:
    """A group of file meta that states this length of itself."""
    return element(0x00020000, "UL", struct.pack("<I", value)) + element(0x00020010, "UI", EXPLICIT)


FILES: dict[str, tuple[str, bytes]] = {
    # CVE-2026-5437: reading beyond the end of the file meta group.
    "5437 length 0": (EITHER, with_meta(explicit_length(0))),
    "5437 length odd": (EITHER, with_meta(explicit_length(27))),
    "5437 length beyond the end": (EITHER, with_meta(explicit_length(1 << 20))),
    "5437 length of 32 bits": (EITHER, with_meta(explicit_length(0xFFFFFFFF))),
    "5437 element beyond the end": (
        REFUSED,
        with_meta(element(0x00020000, "UL", u16(9, 0)) + b"\2\0\x10\0UI\xff\xff1.2"),
    ),
    # CVE-2026-5438: what inflates without end. The limit of this engine is 64 MiB.
    "5438 deflated bomb": (REFUSED, deflated(element(0x00104000, "LT", b"x" * (1 << 26)))),
    "5438 deflated metadata": (REFUSED, deflated(element(0x00104000, "LT", b"x" * (1 << 21)))),
    # CVE-2026-5441: PMSCT_RLE1 of Philips, which lightwell does not decode: it is a private value.
    "5441 PMSCT_RLE1": (
        IMPORTED,
        image(
            element(0x07A10010, "LO", "ELSCINT1"),
            element(0x07A1100A, "OB", b"\xa5" * 64),
            element(0x07A11011, "CS", "PMSCT_RLE1"),
            *pixels(64, 64, bits=16),
        ),
    ),
    # CVE-2026-5442: dimensions whose product overflows.
    "5442 rows and columns of 32 bits": (
        BLOB,
        image(
            *replaced(
                pixels(), element(0x00280010, "UL", b"\xff" * 4), element(0x00280011, "UL", b"\xff" * 4)
            ),
            native(bytes(16)),
        ),
    ),
    "5442 rows and columns of 64 bits": (
        BLOB,
        image(
            *replaced(
                pixels(), element(0x00280010, "UV", b"\xff" * 8), element(0x00280011, "UV", b"\0" * 7 + b"\1")
            ),
            native(bytes(16)),
        ),
    ),
    "5442 rows as text": (
        BLOB,
        image(*replaced(pixels(), element(0x00280010, "IS", "-1")), native(bytes(16))),
    ),
    "5442 65535 by 65535": (BLOB, image(*pixels(65535, 65535), native(bytes(16)))),
    "5442 no rows": (BLOB, image(*pixels(0, 2), native(bytes(16)))),
    "5442 no samples": (BLOB, image(*pixels(samples=0), native(bytes(16)))),
    "5442 255 samples": (BLOB, image(*pixels(samples=255), native(bytes(16)))),
    "5442 no bits": (BLOB, image(*pixels(bits=0, stored=0), native(bytes(16)))),
    "5442 more bits stored than allocated": (EITHER, image(*pixels(bits=8, stored=64), native(bytes(4)))),
    "5442 frames without end": (
        BLOB,
        image(*pixels(), element(0x00280008, "IS", str(2**31 - 1)), native(bytes(16))),
    ),
    # CVE-2026-5444: a PAM picture whose product of width, height and depth overflows; nothing here reads PAM.
    "5444 PAM as JPEG": (EITHER, image(*pixels(), encapsulated(PAM), syntax=JPEG)),
    "5444 PAM as JPEG 2000": (BLOB, image(*pixels(), encapsulated(PAM), syntax=J2K)),
    "5444 PAM as pixels": (BLOB, image(*pixels(65535, 65535), native(PAM))),
    "5444 PAM": (REFUSED, PAM),
    # CVE-2026-10528: a stack that nested items exhaust.
    "10528 101 levels": (REFUSED, image(nested(101))),
    "10528 100,000 levels": (
        REFUSED,
        image(
            b"".join(
                b"\x40\0\x75\2SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" for _ in range(100_000)
            )
        ),
    ),
    "10528 implicit": (REFUSED, image(nested(3000, "implicit"), syntax=IMPLICIT, form="implicit")),
    "10528 as UN": (EITHER, image(nested(3000, "implicit", "UN"), syntax=IMPLICIT, form="implicit")),
    # DCMTK and GDCM: run lengths.
    "RLE 16 segments": (BLOB, image(*pixels(), encapsulated(rle(16, 64)), syntax=RLE)),
    "RLE 2^32 segments": (BLOB, image(*pixels(), encapsulated(rle(0xFFFFFFFF, 64)), syntax=RLE)),
    "RLE segment beyond the data": (BLOB, image(*pixels(), encapsulated(rle(1, 1 << 30)), syntax=RLE)),
    "RLE segment before the header": (BLOB, image(*pixels(), encapsulated(rle(1, 4)), syntax=RLE)),
    "RLE more samples than pixels": (
        BLOB,
        image(*pixels(), encapsulated(rle(1, 64, data=b"\x81\1" * 100)), syntax=RLE),
    ),
    "RLE fragment of four bytes": (BLOB, image(*pixels(), encapsulated(b"\1\0\0\0"), syntax=RLE)),
    "no fragment": (IMPORTED, image(*pixels(), encapsulated(), syntax=RLE)),
    "fragment beyond the end": (
        EITHER,
        image(
            *pixels(),
            element(
                0x7FE00010, "OB", b"\xfe\xff\0\xe0\0\0\0\0\xfe\xff\0\xe0\xfe\xff\xff\xff", length=0xFFFFFFFF
            ),
            syntax=RLE,
        ),
    ),
    # JPEG 2000 and JPEG whose size is not that of the attributes.
    "J2K larger than its attributes": (BLOB, image(*pixels(), encapsulated(j2k(60_000, 60_000)), syntax=J2K)),
    "J2K of 2^32 columns": (BLOB, image(*pixels(), encapsulated(j2k(2, 0xFFFFFFFF)), syntax=J2K)),
    "J2K of 16384 components": (BLOB, image(*pixels(), encapsulated(j2k(2, 2, 16384)), syntax=J2K)),
    # Kept as it came, and decoded only where a client asks for it.
    "JPEG larger than its attributes": (
        IMPORTED,
        image(*pixels(), encapsulated(jpeg(65535, 65535, 1)), syntax=JPEG),
    ),
    "JPEG of 255 components": (IMPORTED, image(*pixels(), encapsulated(jpeg(2, 2, 255)), syntax=JPEG)),
    "JPEG of three components for one sample": (
        IMPORTED,
        image(*pixels(), encapsulated(jpeg(2, 2, 3)), syntax=JPEG),
    ),
    # Overlays that have less data than rows and columns say.
    "overlay beyond its data": (
        IMPORTED,
        image(
            *pixels(),
            element(0x60000010, "US", u16(65535)),
            element(0x60000011, "US", u16(65535)),
            element(0x60003000, "OW", b"\0\0"),
            native(bytes(4)),
        ),
    ),
}


@dataclass
class _Tried:
    """What became of all of them: each way in is one job."""

    files: Report
    zipped: Report
    pids: tuple[set[int], set[int]]


def zip_of(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytearray:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return bytearray(out.getvalue())


def forged_size(archive: bytearray, size: int) -> bytearray:
    """The first member of the directory states this size, of 64 bits."""
    place = archive.index(b"PK\1\2")
    name = struct.unpack_from("<H", archive, place + 28)[0]
    extra = struct.pack("<HHQ", 1, 8, size)
    archive[place + 24 : place + 28] = b"\xff" * 4
    struct.pack_into("<H", archive, place + 30, len(extra))
    at = place + 46 + name
    archive[at:at] = extra
    end = archive.rindex(b"PK\5\6")
    grown = struct.unpack_from("<I", archive, end + 12)[0] + len(extra)
    struct.pack_into("<I", archive, end + 12, grown)
    return archive


def overlapping(archive: bytearray) -> bytearray:
    """The second member of the directory lies where the first one lies."""
    first = archive.index(b"PK\1\2")
    second = archive.index(b"PK\1\2", first + 4)
    archive[second + 42 : second + 46] = archive[first + 42 : first + 46]
    return archive


def zips() -> dict[str, bytearray]:
    good = write_bytes(1)
    bomb = bytes(1 << 27)
    return {
        "good": zip_of(("a.dcm", good)),
        "5439 size of 2^63": forged_size(zip_of(("a.dcm", write_bytes(2))), 1 << 63),
        "5439 size of 2^64": forged_size(zip_of(("a.dcm", write_bytes(3))), (1 << 64) - 1),
        "5439 size of 2^62": forged_size(zip_of(("a.dcm", write_bytes(4))), 1 << 62),
        "5439 size of 2^62 again": forged_size(zip_of(("a.dcm", write_bytes(5))), 1 << 62),
        "5439 size of 2^62 once more": forged_size(zip_of(("a.dcm", write_bytes(6))), 1 << 62),
        "5439 overlapping members": overlapping(zip_of(("a.dcm", write_bytes(7)), ("b.dcm", write_bytes(8)))),
        "5439 bzip2 bomb": zip_of(("a.dcm", bomb), method=zipfile.ZIP_BZIP2),
        "5439 LZMA bomb": zip_of(("a.dcm", bomb), method=zipfile.ZIP_LZMA),
        "5438 deflate bomb": zip_of(("a.dcm", bomb)),
    }


def write_bytes(number: int) -> bytes:
    out = io.BytesIO()
    data = ct(number, series="77")
    data.save_as(out, enforce_file_format=True)
    return out.getvalue()


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> Iterator[_Tried]:
    folder = tmp_path_factory.mktemp("advisories")
    shutil.copy(_sqlite_template, folder / "lightwell.db")
    server = importing(
        folder / "data",
        f"sqlite:///{folder}/lightwell.db",
        inflate_max_bytes=1 << 26,
        metadata_max_bytes=1 << 20,
        worker_memory=512 << 20,
    )
    try:
        for number, (name, (_, data)) in enumerate(FILES.items(), 10):
            # Each is another instance.
            (server.input / f"{name}.dcm").write_bytes(data.replace(b"1.2.3.4\0", b"1.2.9.%d" % number))
        write(server.input / "good.dcm", ct(1))
        files = server.run()
        assert server._engine is not None
        pids = set(server._engine.worker_pids())
        places = []
        for name, archive in zips().items():
            places.append(folder / f"{name}.zip")
            places[-1].write_bytes(archive)
        job = import_jobs.submit_local(server.context, server.datastore, list(map(str, places)))
        server.work()
        yield _Tried(files, server.report(job.id), (pids, set(server._engine.worker_pids())))
    finally:
        server.close()


@pytest.mark.parametrize("name", FILES)
def test_imports_a_hostile_file_or_says_what_is_wrong_with_it(tried: _Tried, name: str) -> None:
    expected, key = FILES[name][0], f"{name}.dcm"
    message = tried.files.messages().get(key)
    assert "fault" not in (message or "") and "codec worker" not in (message or ""), message
    imported = {line["inputFile"] for line in tried.files.success}
    assert (key in imported) != (message is not None)
    if expected in (REFUSED, IMPORTED, BLOB):
        assert (message is not None) == (expected == REFUSED), message
    warned = {
        line["inputFile"]: {each["type"] for each in line["importResponse"]["warnings"]}
        for line in tried.files.warning
    }
    is_blob = bool(warned.get(key, set()) & {"TranscodingException", "FramesExtractionFailure"})
    assert is_blob if expected == BLOB else expected == EITHER or not is_blob


def test_ends_no_worker_over_any_of_them(tried: _Tried) -> None:
    files, zipped = tried.pids
    assert files and files == zipped
    assert tried.files.manifest["numberOfFilesWithServerError"] == 0
    assert "good.dcm" in {line["inputFile"] for line in tried.files.success}


def test_imports_zip_files_with_forged_sizes_or_says_what_is_wrong(tried: _Tried) -> None:
    """CVE-2026-5439: sizes of zip members that are stated only."""
    assert tried.zipped.job.status == "COMPLETED"
    messages = {Path(name).parent.name: text for name, text in tried.zipped.messages().items()}
    by_name = {name.removesuffix(".zip"): text for name, text in messages.items()}
    assert not any("fault" in text for text in by_name.values()), by_name
    for bomb in ("5439 bzip2 bomb", "5439 LZMA bomb", "5438 deflate bomb"):
        assert "larger than" in by_name[bomb], by_name
    imported = {Path(line["inputFile"]).parent.name for line in tried.zipped.success}
    assert "good.zip" in imported


def test_inflates_an_upload_by_what_comes_out_not_by_what_it_states() -> None:
    """CVE-2026-5438: a gzip trailer that states another size."""
    squeezed = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(squeezed.compress(bytes(1 << 24)) for _ in range(17)) + squeezed.flush()
    inflater, inflated = Inflater(), 0
    inflater.add(bomb[:-4] + struct.pack("<I", 16))
    with pytest.raises(TooLargeError, match="inflates to more"):
        while piece := inflater.step():
            inflated += len(piece)
    assert inflated <= 257 << 20


def indexed(descriptor: list[int], table: bytes, samples: np.ndarray) -> Dataset:
    data = ct(1, Rows=samples.shape[0], Columns=samples.shape[1])
    data.PhotometricInterpretation = "PALETTE COLOR"
    data.PixelRepresentation, data.BitsAllocated, data.BitsStored, data.HighBit = 0, 16, 16, 15
    for name in ("Red", "Green", "Blue"):
        setattr(data, f"{name}PaletteColorLookupTableDescriptor", descriptor)
        setattr(data, f"{name}PaletteColorLookupTableData", table)
    data.PixelData = samples.astype("<u2").tobytes()
    return data


@pytest.mark.parametrize(
    ("descriptor", "table"),
    [
        ([0, 0, 16], b"\1\0" * 4),
        ([65535, 0, 16], b"\1\0" * 4),
        ([4, 65533, 16], b"\1\0" * 4),
        ([256, 0, 8], b"\1"),
        ([4, 0, 16], b""),
        ([4, 0, 0], b"\1\0" * 4),
        ([4, 0, 255], b"\1\0" * 4),
    ],
)
def test_looks_nothing_up_beyond_a_palette(descriptor: list[int], table: bytes) -> None:
    """CVE-2026-5443 and 5445: sizes of palettes, and samples that are no index of theirs."""
    samples = np.array([[0, 1], [3, 65535]], np.uint16)
    pack = Pack(indexed(descriptor, table, samples))
    assert isinstance(pack.render(), Rendered | NotRendered)
