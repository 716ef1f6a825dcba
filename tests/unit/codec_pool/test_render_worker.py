"""Requests for stored pixels, without a codec worker."""

from __future__ import annotations

import io
import json
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import imagecodecs
import msgspec
import numpy as np
import pydicom
import pytest
from pydicom.pixels.utils import pixel_array

from lightwell.codec_pool.render_requests import (
    ByteSpan,
    Decode,
    FrameSpan,
    NotRendered,
    Pixels,
    Render,
    Rendered,
)
from lightwell.codec_pool.render_worker import decoded, view
from lightwell.codec_pool.requests import Envelope
from lightwell.domain.image_sets.edits import Edit, encode_edits
from lightwell.domain.rendering import Region, Rendering, Window
from lightwell.errors import DamagedError, StorageError
from lightwell.imaging.dataset.byte_source import BytesSource
from lightwell.imaging.dataset.original_container import write_original
from lightwell.imaging.dataset.part10 import open_part10
from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels.frame_stream import open_frame_stream
from tests.support.ct_files import ct
from tests.support.shared_data import SHARED
from tests.unit.imaging.pixel_files import WHEEL, opened_dataset, read_dataset

PNG = Rendering("image/png")


class Pack:
    """What an instance has become, as one object of a store."""

    def __init__(self, data: pydicom.Dataset) -> None:
        self._bytes = bytearray()
        self.pixels: Pixels | None = None
        self.frames: list[FrameSpan] = []
        if "PixelData" in data:
            part10, image, pixel = opened_dataset(data)
            stream = open_frame_stream(part10, image, pixel, "HTJ2K")
            for frame in stream:
                place = self.append(frame.data), frame.length, frame.head, frame.checksum
                self.frames.append(FrameSpan("pack", *place))
            described = asdict(image) | {"original_syntax": part10.transfer_syntax}
            self.pixels = Pixels(stream.stored.stored_syntax, json.dumps(described).encode())
            del data.PixelData
        file = io.BytesIO()
        pydicom.dcmwrite(file, data, enforce_file_format=True)
        opened = open_part10(BytesSource(file.getvalue()), spool_dir=Path("/"), inflate_limit=0)
        start = opened.dataset_offset
        ranges = [(start, opened.source.size - start)]
        self.original = ByteSpan(
            "pack", *write_original(opened.file_meta, opened.source, ranges, self.append)
        )

    def append(self, data: bytes) -> int:
        self._bytes += data
        return len(self._bytes) - len(data)

    def read(self, name: str, offset: int, length: int) -> bytes:
        assert name == "pack"
        return bytes(self._bytes[offset : offset + length])

    def render(self, asked: Rendering = PNG, **changes: Any) -> Rendered | NotRendered:
        """The first frame; ``changes`` are of the request."""
        first = self.frames[0] if self.frames else None
        request = Render(self.original, None, None, self.pixels, first, 0, asked)
        return view(self.read, msgspec.structs.replace(request, **changes))


def test_survives_the_way_to_the_worker() -> None:
    asked = Rendering("image/png", Window(1.5, 2.0, "SIGMOID"), 3, None, Region(0, 1, None, -2.5), 7)
    request = Render(
        ByteSpan("a", 1, 2), b"x", None, Pixels("s", b"{}"), FrameSpan("b", 3, 4, 5, 6), 7, asked
    )
    for each in (request, Decode(Pixels("s", b"{}"), [FrameSpan("b", 3, 4, 5, 6)])):
        assert (
            msgspec.msgpack.decode(msgspec.msgpack.encode(Envelope(1.0, each)), type=Envelope).request == each
        )


def test_lays_edits_over_the_original() -> None:
    pack = Pack(ct(1, WindowCenter="40", WindowWidth="400"))
    plain = pack.render()
    edits = encode_edits({"WindowCenter": Edit("DS", "5000"), "WindowWidth": Edit("DS", "2")})
    edited = pack.render(edits=edits)
    assert isinstance(plain, Rendered) and isinstance(edited, Rendered)
    assert imagecodecs.png_decode(plain.data).any()
    assert not imagecodecs.png_decode(edited.data).any()


def test_says_why_nothing_can_be_shown() -> None:
    pack = Pack(ct(1, PhotometricInterpretation="PALETTE COLOR"))
    refused = pack.render()
    assert isinstance(refused, NotRendered) and not refused.bad and "palette" in refused.message
    outside = Pack(ct(1)).render(Rendering("image/png", region=Region(5, 5, 100, 100)))
    assert isinstance(outside, NotRendered) and outside.bad
    nothing = pack.render(pixels=None)
    assert isinstance(nothing, NotRendered) and "neither" in nothing.message
    assert pack.pixels is not None
    other = pack.render(pixels=Pixels("1.2.840.10008.1.2.4.102", pack.pixels.image))
    assert isinstance(other, NotRendered) and "decoded" in other.message


def test_does_not_show_what_storage_has_lost() -> None:
    pack = Pack(ct(1))
    with pytest.raises(StorageError, match="shorter"):
        pack.render(frame=FrameSpan("pack", 0, 1 << 20, 0, 0))
    assert pack.pixels is not None
    with pytest.raises(StorageError):
        decoded(pack.read, Decode(pack.pixels, [FrameSpan("pack", 1 << 30, 10, 0, 0)]))


KEPT = [
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_dcmtk_+eb+cy+s2.dcm",
    "693_J2KI.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "HTJ2K_08_RGB.dcm",
    "US1_J2KI.dcm",
]


@pytest.mark.parametrize("name", KEPT)
def test_decodes_kept_frames_as_pydicom_does(name: str) -> None:
    path = WHEEL / name if (WHEEL / name).exists() else SHARED / "syntaxes" / name
    if not path.exists():
        pytest.skip("no such file here")
    expected = pixel_array(read_dataset(path), raw=True)
    data = read_dataset(path)
    count = int(data.get("NumberOfFrames") or 1)
    planar = data.get("PlanarConfiguration") == 1 and data.SamplesPerPixel > 1
    pack = Pack(data)
    assert pack.pixels is not None
    found = decoded(pack.read, Decode(pack.pixels, pack.frames))
    assert len(found.frames) == count and not found.photometric.startswith("YBR_ICT")
    frames = expected if count > 1 else expected[None]
    for frame, wanted in zip(found.frames, frames, strict=True):
        shape = (wanted.shape[2], *wanted.shape[:2]) if planar else wanted.shape
        samples = np.frombuffer(frame, wanted.dtype).reshape(shape)
        samples = samples.transpose(1, 2, 0) if planar else samples
        assert np.abs(samples.astype(int) - wanted).max() <= 1


def test_refuses_a_damaged_frame() -> None:
    pack = Pack(read_dataset(WHEEL / "SC_rgb_jpeg_dcmtk.dcm"))
    assert pack.pixels is not None
    (span,) = pack.frames
    cut = msgspec.structs.replace(span, length=span.length // 2)
    for call in (lambda: decoded(pack.read, Decode(pack.pixels, [cut])), lambda: pack.render(frame=cut)):
        with pytest.raises(DamagedError, match="lightwell data verify"):
            call()


def test_says_of_a_frame_that_came_damaged_that_it_cannot_be_decoded() -> None:
    pack = Pack(read_dataset(WHEEL / "SC_rgb_jpeg_dcmtk.dcm"))
    assert pack.pixels is not None
    (span,) = pack.frames
    came = pack.read(span.object, span.offset, span.length // 2)
    cut = msgspec.structs.replace(span, length=len(came), checksum=zlib.crc32(came))
    with pytest.raises(PixelFailure):
        decoded(pack.read, Decode(pack.pixels, [cut]))
    refused = pack.render(frame=cut)
    assert isinstance(refused, NotRendered) and "cannot be decoded" in refused.message


@pytest.mark.parametrize("name", ["MR_small_bigendian.dcm", "MR_small_implicit.dcm"])
def test_reads_originals_of_every_form(name: str) -> None:
    found = Pack(read_dataset(WHEEL / name)).render()
    same = Pack(read_dataset(WHEEL / "MR_small.dcm")).render()
    assert isinstance(found, Rendered) and isinstance(same, Rendered)
    assert found.data == same.data
