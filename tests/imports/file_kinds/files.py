"""DICOM files of many kinds, made here: every way in which pixels are described, coded and laid out.

Each specimen knows the samples that it was made of, so that nothing has to decode it to know what is right.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from tests.unit.imaging.headers import BIG, DEFLATED, EXPLICIT, IMPLICIT, element, meta
from tests.unit.imaging.pixel_files import items

ROOT = "1.2.840.10008.1.2"
HTJ2K, NATIVE = ROOT + ".4.202", EXPLICIT
FORMS = {IMPLICIT: "implicit", BIG: "big"}

Samples = NDArray[Any]
"""(frames, rows, columns, samples per pixel)"""


@dataclass(slots=True)
class Specimen:
    """One file; ``stored`` is the syntax that its frames must have.

    ``samples`` is what they must decode to, ``kept`` are their bytes where these must not change.
    ``colour`` is PhotometricInterpretation, as it comes out of an export where that decodes the frames.
    """

    name: str
    data: bytes
    uid: str
    stored: str
    samples: Samples | None = None
    kept: list[bytes] = field(default_factory=list)
    colour: str = ""
    planar: int = 0


def picture(shape: tuple[int, ...], kind: str, bits: int | None = None) -> Samples:
    """Smooth values with noise that reach both ends of ``bits``; a shape of three is of one sample."""
    frames, rows, columns, *rest = shape
    samples = rest[0] if rest else 1
    dtype = np.dtype(kind)
    bits = bits or dtype.itemsize * 8
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if dtype.kind == "i" else (0, (1 << bits) - 1)
    f, y, x, s = np.ogrid[:frames, :rows, :columns, :samples]
    wave = (np.sin(x / 3 + f) + np.cos(y / 4 + s)) / 4 + 0.5
    noise = np.random.default_rng(bits).normal(0, 0.03, wave.shape)
    values = np.clip(np.rint(low + (wave + noise) * (high - low)), low, high)
    values = values.astype(np.float64 if bits < 53 else np.longdouble).astype(dtype)
    if values.size > 1:
        values.flat[0], values.flat[-1] = low, high
    return values


def file(
    number: int,
    pixels: bytes,
    syntax: str,
    attributes: dict[int, tuple[str, Any]],
    *,
    length: int | None = None,
) -> tuple[bytes, str]:
    """A Part 10 file of its own series, and its SOP instance UID; numbers are in the order of its syntax."""
    form = FORMS.get(syntax, "explicit")
    order = ">" if form == "big" else "<"
    uid = f"1.2.826.0.1.99.{number}"
    whole: dict[int, tuple[str, Any]] = {
        0x00080016: ("UI", "1.2.840.10008.5.1.4.1.1.7"),
        0x00080018: ("UI", uid),
        0x00080060: ("CS", "OT"),
        0x00100020: ("LO", "ZOO"),
        0x0020000D: ("UI", "1.2.826.0.1.98.1"),
        0x0020000E: ("UI", uid + ".1"),
        **attributes,
    }
    codes = {"US": "H", "FD": "d", "SS": "h"}
    content = b""
    for tag in sorted(whole):
        vr, value = whole[tag]
        data = struct.pack(order + codes[vr], value) if vr in codes else value
        content += element(tag, vr, data, length=length if tag == 0x7FE00010 else None, form=form)
    head = bytes(128) + b"DICM" + meta(syntax)
    if syntax == DEFLATED:
        deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
        content = deflater.compress(content) + deflater.flush()
    return head + content, uid


def description(
    samples: Samples, bits: int | None, colour: str, planar: int, frames: int | None = None
) -> dict[int, tuple[str, Any]]:
    """The Image Pixel module."""
    count, rows, columns, per_pixel = samples.shape
    allocated = samples.dtype.itemsize * 8
    found: dict[int, tuple[str, Any]] = {
        0x00280002: ("US", per_pixel),
        0x00280004: ("CS", colour),
        0x00280010: ("US", rows),
        0x00280011: ("US", columns),
        0x00280100: ("US", allocated),
        0x00280101: ("US", bits or allocated),
        0x00280102: ("US", (bits or allocated) - 1),
        0x00280103: ("US", int(samples.dtype.kind == "i")),
    }
    if per_pixel > 1:
        found[0x00280006] = ("US", planar)
    if count > 1 or frames:
        found[0x00280008] = ("IS", str(frames or count))
    return found


def native_bytes(samples: Samples, syntax: str, planar: int, vr: str) -> bytes:
    laid = samples.transpose(0, 3, 1, 2) if planar else samples
    big = syntax == BIG
    data = np.ascontiguousarray(laid).astype(laid.dtype.newbyteorder(">" if big else "<")).tobytes()
    data += b"\0" * (len(data) % 2)
    if big and vr == "OW" and samples.dtype.itemsize == 1:
        data = np.frombuffer(data, ">u2").astype("<u2").tobytes()
    return data


GREY = [
    ("u8", "u1", None), ("s8", "i1", None), ("u8-in-16", "u2", 8), ("u10", "u2", 10), ("u12", "u2", 12),
    ("u16", "u2", None), ("s12", "i2", 12), ("s16", "i2", None), ("u32", "u4", None), ("s32", "i4", None),
]  # fmt: skip
COLOUR = [
    ("rgb", "RGB", 0, "u1"), ("rgb-planar", "RGB", 1, "u1"), ("ybr", "YBR_FULL", 0, "u1"),
    ("ybr-planar", "YBR_FULL", 1, "u1"), ("rgb16", "RGB", 0, "u2"),
]  # fmt: skip
SIZES = [
    (1, 1, 1), (1, 1, 97), (1, 97, 1), (1, 2, 2), (3, 1, 1), (3, 3, 5), (1, 3, 65535), (1, 65, 63),
    (2, 130, 33),
]  # fmt: skip


def natives() -> Iterator[tuple[str, Samples, dict[str, Any]]]:
    """Name, samples, and how they lie in the file."""
    for syntax, short in (
        (IMPLICIT, "implicit"),
        (EXPLICIT, "explicit"),
        (BIG, "big"),
        (DEFLATED, "deflated"),
    ):
        for name, kind, bits in GREY:
            if syntax == BIG and kind[1] == "4":
                continue  # not guessed, see the tests of `open_frame_stream`
            yield f"{short}-{name}", picture((2, 11, 13), kind, bits), {"syntax": syntax, "bits": bits}
        for name, colour, planar, kind in COLOUR:
            more = {"syntax": syntax, "colour": colour, "planar": planar}
            yield f"{short}-{name}", picture((2, 9, 7, 3), kind), more
    for size in SIZES:
        yield "size-" + "x".join(map(str, size)), picture(size, "u1"), {}
        yield "size16-" + "x".join(map(str, size)), picture(size, "i2"), {}
    for count in (2, 4):
        for planar in (0, 1):
            yield (
                f"{count}-samples-{planar}",
                picture((2, 5, 7, count), "u1"),
                {"colour": "X", "planar": planar},
            )
    yield "monochrome1", picture((1, 9, 9), "u1"), {"colour": "MONOCHROME1"}
    yield "palette", picture((1, 9, 9), "u1"), {"colour": "PALETTE COLOR"}
    yield "words-of-bytes", picture((3, 3, 5), "u1"), {"syntax": BIG, "vr": "OW"}
    high = picture((1, 9, 9), "u2", 12)
    yield "bits-above", high | 0x5000, {"bits": 12}
    yield "left-aligned", high << 4, {"bits": 12}
    signed = picture((1, 9, 9), "i2", 12)
    bare_sign = signed & 0xFFF
    yield "sign-not-extended", signed, {"bits": 12, "written": bare_sign}
    half = np.where(np.arange(81).reshape(signed.shape) % 2, signed, bare_sign)
    yield "sign-extended-in-places", signed, {"bits": 12, "written": half}
    narrow = picture((1, 9, 9), "i1", 7)
    yield "sign-not-extended-7", narrow, {"bits": 7, "written": narrow & 0x7F}
    overlay = bare_sign | 0x1000 * (np.arange(81, dtype="i2").reshape(signed.shape) % 2)
    yield "overlay-above-a-sign", overlay, {"bits": 12, "more": {0x60000102: ("US", 12)}}
    yield "empty-overlay-above-a-sign", bare_sign, {"bits": 12, "more": {0x60000102: ("US", 12)}}
    yield "junk-above-a-sign", overlay, {"bits": 12}
    yield "higher-high-bit", signed << 4, {"bits": 12, "more": {0x00280102: ("US", 15)}}


def has_lossless_form(samples: Samples) -> bool:
    """Written out here once more: what HTJ2K serves."""
    _, rows, columns, count = samples.shape
    return samples.dtype.itemsize <= 2 and count in (1, 3) and min(rows, columns) > 1


def native_specimens(number: int) -> Iterator[Specimen]:
    for name, samples, how in natives():
        syntax, planar = how.get("syntax", EXPLICIT), how.get("planar", 0)
        colour = how.get("colour", "RGB" if samples.shape[3] == 3 else "MONOCHROME2")
        vr = how.get("vr") or ("OW" if samples.dtype.itemsize > 1 or syntax == IMPLICIT else "OB")
        number += 1
        attributes = description(samples, how.get("bits"), colour, planar)
        attributes |= how.get("more", {})
        attributes[0x7FE00010] = (vr, native_bytes(how.get("written", samples), syntax, planar, vr))
        data, uid = file(number, b"", syntax, attributes)
        stored = HTJ2K if has_lossless_form(samples) else NATIVE
        kept = [] if stored == HTJ2K else [native_bytes(f[None], "", planar, "OB") for f in samples]
        exact = samples[0].size * samples.dtype.itemsize
        yield Specimen(name, data, uid, stored, samples, [k[:exact] for k in kept], colour, planar)


def bit_specimens(number: int) -> Iterator[Specimen]:
    """One-bit frames follow each other without padding; floats; halved chrominance."""
    for index, (frames, rows, columns) in enumerate([(7, 3, 3), (9, 5, 13), (17, 1, 1), (2, 16, 16)]):
        bits = np.random.default_rng(index).integers(0, 2, (frames, rows, columns, 1), np.uint8)
        packed = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
        attributes = description(bits, 1, "MONOCHROME2", 0)
        attributes |= {0x00280100: ("US", 1), 0x7FE00010: ("OB", packed)}
        data, uid = file(number + index, b"", EXPLICIT, attributes)
        kept = [np.packbits(frame.reshape(-1), bitorder="little").tobytes() for frame in bits]
        yield Specimen(f"bits-{frames}x{rows}x{columns}", data, uid, NATIVE, bits, kept, "MONOCHROME2")
    number += 10
    for syntax in (IMPLICIT, EXPLICIT, BIG):
        for tag, kind, vr in ((0x7FE00008, "f4", "OF"), (0x7FE00009, "f8", "OD")):
            number += 1
            floats = np.random.default_rng(number).normal(size=(2, 3, 5, 1)).astype(kind)
            floats.flat[:3] = np.nan, np.inf, -0.0
            attributes = description(floats, None, "MONOCHROME2", 0)
            attributes[tag] = (vr, native_bytes(floats, syntax, 0, vr))
            data, uid = file(number, b"", syntax, attributes)
            kept = [frame.tobytes() for frame in floats]
            yield Specimen(
                f"{vr}-{FORMS.get(syntax, 'explicit')}", data, uid, NATIVE, floats, kept, "MONOCHROME2"
            )
    number += 1
    pairs = np.random.default_rng(1).integers(0, 256, (3, 5, 7, 4), np.uint8)  # Y1 Y2 CB CR for two pixels
    full = np.stack(
        [pairs[..., 0], pairs[..., 2], pairs[..., 3], pairs[..., 1], pairs[..., 2], pairs[..., 3]], -1
    )
    full = full.reshape(3, 5, 14, 3)
    attributes = description(full, None, "YBR_FULL_422", 0) | {0x7FE00010: ("OB", pairs.tobytes())}
    data, uid = file(number, b"", EXPLICIT, attributes)
    kept = [frame.tobytes() for frame in pairs]
    yield Specimen("halved-chrominance", data, uid, NATIVE, full, kept, "YBR_FULL_422")


def j2k(frame: Samples, **more: Any) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(frame, codecformat="j2k", reversible=True, planar=False, **more))


def htj2k(frame: Samples, **more: Any) -> bytes:
    return bytes(imagecodecs.htj2k_encode(frame, reversible=True, planar=False, **more))


def bare(code: Callable[..., bytes | bytearray | memoryview], **more: Any) -> Callable[[Samples], bytes]:
    """The samples of a pixel as a third axis only where there are several."""
    return lambda frame: bytes(code(frame[..., 0] if frame.shape[2] == 1 else frame, **more))


def rle(frame: Samples) -> bytes:
    """Byte planes, the most significant first, each of literal runs (PS3.5 G.3)."""
    planes = []
    width = frame.dtype.itemsize
    for sample in range(frame.shape[2]):
        parts = np.ascontiguousarray(frame[:, :, sample]).view(np.uint8).reshape(-1, width)
        planes += [parts[:, byte].tobytes() for byte in reversed(range(width))]
    segments = []
    for plane in planes:
        runs = [plane[i : i + 128] for i in range(0, len(plane), 128)]
        segment = b"".join(bytes([len(run) - 1]) + run for run in runs)
        segments.append(segment + b"\x80" * (len(segment) % 2))
    places = [64 + sum(map(len, segments[:index])) for index in range(len(segments))]
    header = struct.pack("<16I", len(segments), *places, *[0] * (15 - len(places)))
    return header + b"".join(segments)


def deflate(frame: Samples) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflater.compress(np.ascontiguousarray(frame).tobytes()) + deflater.flush()


def unsigned(code: Callable[[Samples], bytes], bits: int | None = None) -> Callable[[Samples], bytes]:
    """Codes that know no sign keep the lowest ``bits``, or all, of a sample (PS3.5 8.2.1)."""

    def coded(frame: Samples) -> bytes:
        whole = frame.view(f"u{frame.dtype.itemsize}")
        return code(whole if bits is None else whole & ((1 << bits) - 1))

    return coded


J2K, JLS, LJPEG = ".4.90", ".4.80", ".4.70"


def coded() -> Iterator[tuple[str, str, Samples, Callable[[Samples], bytes], dict[str, Any]]]:
    """Name, syntax, samples, how one frame is coded, and what else the file says."""
    for name, kind, bits in GREY[:8]:
        samples = picture((2, 19, 23), kind, bits)
        stored_bits = bits or samples.dtype.itemsize * 8
        more: dict[str, Any] = {"bits": bits}
        yield f"j2k-{name}", J2K, samples, bare(j2k), more
        yield f"ht-{name}", ".4.201", samples, bare(htj2k), more
        yield f"rpcl-{name}", ".4.202", samples, bare(htj2k), more
        yield f"rle-{name}", ".5", samples, rle, more
        yield f"deflate-{name}", ".8.1", samples, deflate, more
        yield (
            f"encapsulated-{name}",
            ".1.98",
            samples,
            lambda frame: np.ascontiguousarray(frame).tobytes(),
            more,
        )
        yield f"jls-{name}", JLS, samples, unsigned(bare(imagecodecs.jpegls_encode)), more
        lossless = bare(imagecodecs.ljpeg_encode, bitspersample=stored_bits)
        yield f"ljpeg-{name}", LJPEG, samples, unsigned(lossless, stored_bits), more
        yield f"process14-{name}", ".4.57", samples, unsigned(lossless, stored_bits), more
    signed = picture((1, 19, 23), "i2")
    yield "j2k-of-the-other-sign", J2K, signed, unsigned(bare(j2k)), {}
    signed = picture((2, 19, 23), "i2", 12)
    for name, tail, code in (("rle", ".5", rle), ("j2k", J2K, bare(j2k)), ("deflate", ".8.1", deflate)):
        yield f"{name}-sign-not-extended", tail, signed, unsigned(code, 12), {"bits": 12}
    boxed = bare(imagecodecs.jpeg2k_encode, codecformat="jp2", reversible=True)
    yield "jp2-in-a-fragment", J2K, picture((1, 19, 23), "u2"), boxed, {}
    for kind in ("u1", "u2"):
        rgb = picture((2, 19, 23, 3), kind)
        for planar in (0, 1):
            more = {"colour": "YBR_RCT", "planar": planar, "decoded": "RGB"}
            yield f"j2k-rct-{kind}-{planar}", J2K, rgb, bare(j2k, mct=True), more
        yield f"ht-rct-{kind}", ".4.201", rgb, bare(htj2k, rgb=True), {"colour": "YBR_RCT", "decoded": "RGB"}
        yield f"ht-rgb-{kind}", ".4.201", rgb, bare(htj2k, rgb=False), {"colour": "RGB"}
        yield f"j2k-ybr-{kind}", J2K, rgb, bare(j2k, mct=False), {"colour": "YBR_FULL"}
        yield f"jls-rgb-{kind}", JLS, rgb, bare(imagecodecs.jpegls_encode), {"colour": "RGB"}
        for planar in (0, 1):
            yield f"rle-rgb-{kind}-{planar}", ".5", rgb, rle, {"colour": "RGB", "planar": planar}
    for layout in ("bare", "basic", "extended", "fragments", "fragments-basic", "endless"):
        samples = picture((3, 19, 23), "u2", 12)
        yield f"layout-{layout}", J2K, samples, bare(j2k), {"bits": 12, "layout": layout}


def encapsulate(frames: list[bytes], layout: str) -> tuple[bytes, dict[int, tuple[str, Any]]]:
    """The value of the pixel element with its delimiter, and the extended offset table."""
    even = [frame + b"\0" * (len(frame) % 2) for frame in frames]
    parts = 3 if layout.startswith("fragments") else 1
    pieces: list[list[bytes]] = []
    for frame in even:
        size = -(-len(frame) // parts // 2) * 2 + 2 if parts > 1 else len(frame)
        pieces.append([frame[i : i + size] for i in range(0, len(frame), size)])
    lengths = [sum(8 + len(piece) for piece in of_frame) for of_frame in pieces]
    starts = [sum(lengths[:index]) for index in range(len(frames))]
    table = tuple(starts) if layout.endswith("basic") else ()
    end = {} if layout != "endless" else {"end": b""}
    value = items(*[piece for of_frame in pieces for piece in of_frame], table=table, **end)
    if layout != "extended":
        return value, {}
    return value, {
        0x7FE00001: ("OV", struct.pack(f"<{len(starts)}Q", *starts)),
        0x7FE00002: ("OV", struct.pack(f"<{len(frames)}Q", *map(len, frames))),
    }


def coded_specimens(number: int) -> Iterator[Specimen]:
    for name, tail, samples, code, how in coded():
        number += 1
        colour, planar = how.get("colour", "MONOCHROME2"), how.get("planar", 0)
        value, tables = encapsulate([code(frame) for frame in samples], how.get("layout", "basic"))
        attributes = description(samples, how.get("bits"), colour, planar) | tables
        attributes[0x7FE00010] = ("OB", value)
        data, uid = file(number, b"", ROOT + tail, attributes, length=0xFFFFFFFF)
        yield Specimen(name, data, uid, HTJ2K, samples, [], how.get("decoded", colour), planar)


def kept_specimens(number: int) -> Iterator[Specimen]:
    grey = picture((3, 19, 23), "u1")
    lossy: list[tuple[str, Callable[[Samples], bytes]]] = [
        (".4.50", bare(imagecodecs.jpeg8_encode, level=80)),
        (".4.91", bare(imagecodecs.jpeg2k_encode, codecformat="j2k", level=60)),
        (".4.203", bare(imagecodecs.htj2k_encode, reversible=False)),
        (".4.110", bare(imagecodecs.jpegxl_encode, lossless=True)),
        (".4.112", bare(imagecodecs.jpegxl_encode, level=80)),
    ]
    for tail, code in lossy:
        for layout in ("bare", "fragments-basic", "extended"):
            number += 1
            frames = [code(frame) for frame in grey]
            value, tables = encapsulate(frames, layout)
            attributes = description(grey, None, "MONOCHROME2", 0) | tables
            attributes[0x7FE00010] = ("OB", value)
            data, uid = file(number, b"", ROOT + tail, attributes, length=0xFFFFFFFF)
            if layout != "extended":  # whose lengths tell padding from frame
                frames = [frame + b"\0" * (len(frame) % 2) for frame in frames]
            yield Specimen(f"kept{tail}-{layout}", data, uid, ROOT + tail, None, frames)
    video = b"\0\0\0\x18ftypisom" + bytes(range(256)) * 9
    for tail in (".4.102", ".4.104.1", ".4.107"):
        number += 1
        value, _ = encapsulate([video], "fragments")
        attributes = description(grey, None, "YBR_PARTIAL_420", 0, frames=99)
        data, uid = file(
            number, b"", ROOT + tail, attributes | {0x7FE00010: ("OB", value)}, length=0xFFFFFFFF
        )
        yield Specimen(f"video{tail}", data, uid, ROOT + tail, None, [video])


def specimens() -> list[Specimen]:
    """All of them, each of its own series."""
    return [
        *native_specimens(1000),
        *bit_specimens(2000),
        *coded_specimens(3000),
        *kept_specimens(4000),
    ]
