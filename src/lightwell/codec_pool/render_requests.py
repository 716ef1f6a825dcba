"""Requests that need stored pixels: a rendered image, and decoded frames.

For `codec_pool.requests`; `codec_pool.render_worker` carries them out.
"""

from __future__ import annotations

import msgspec

from lightwell.domain.rendering import Rendering


class ByteSpan(msgspec.Struct, frozen=True, array_like=True):
    """A range of bytes of an object."""

    object: str
    offset: int
    length: int


class FrameSpan(msgspec.Struct, frozen=True, array_like=True):
    """Where a frame is, and the ``checksum`` that proves it (`domain.image_sets.frame_table.Frame`).

    ``stored`` is the CRC-32 of its stored bytes, None while there is none.
    """

    object: str
    offset: int
    length: int
    head: int
    checksum: int
    stored: int | None = None


class Pixels(msgspec.Struct, frozen=True, array_like=True):
    """How the frames of an instance are stored: the columns of its row of pixels
    (`stores.image_sets.part10_instances`)."""

    stored_syntax: str
    image: bytes


class Render(msgspec.Struct, tag=True, frozen=True):
    """Render a frame, or return the document that an instance encapsulates.

    ``original``, ``override_z`` and ``edits`` (`domain.image_sets.edits.encode_edits`) give the attributes
    of the version. ``frame`` and ``pixels`` are None for an instance without frames; ``number`` is the
    frame's, from 0. ``animated``: all frames, the first included, for an animation. The reply is `Rendered`
    or `NotRendered`.
    """

    original: ByteSpan
    override_z: bytes | None
    edits: bytes | None
    pixels: Pixels | None
    frame: FrameSpan | None
    number: int
    asked: Rendering
    animated: list[FrameSpan] = []


class Decode(msgspec.Struct, tag=True, frozen=True):
    """Decode stored frames, whatever syntax they were kept in, and give them as native ones.

    The reply is `Decoded`: for each frame its bytes as Explicit VR Little Endian has them (PS3.5 A.2), planar
    where the image's own PlanarConfiguration says so, 1-bit samples packed, an odd length left odd; and the
    PhotometricInterpretation that is true of them, which decoding may have changed. ``described``: whoever
    gets the frames knows the attributes as they were imported, but not that one, so the colours of JPEG
    frames are converted to what the attributes say (`colour.in_described_colours`). `CodecPoolClient.ask`
    raises `InputError` where the frames cannot be decoded, which is to be answered 406, and `DamagedError`
    where they are not those that were stored. All frames of a request are in memory at once, so ask for some
    megabytes at a time::

        request = Decode(Pixels(stored.stored_syntax, stored.image), [FrameSpan(pack_name(stored.pack),
                       f.offset, f.length, f.head, f.checksum) for f in frames])
        reply = context.pool.ask(request, settings.file_timeout)
    """

    pixels: Pixels
    frames: list[FrameSpan]
    described: bool = False


class DecodeNested(msgspec.Struct, tag=True, frozen=True):
    """Decode the encapsulated pixel data within the sequences of an original, such as icons.

    The reply is `NestedDecoded`. `CodecPoolClient.ask` raises `InputError` if the data set is damaged.
    """

    original: ByteSpan


class NestedPixels(msgspec.Struct, frozen=True, array_like=True):
    """The fields of `imaging.dataset.nested_pixels.NativePixels`, and the offset in the original of the value
    that it stands for."""

    offset: int
    value: bytes
    vr: str
    photometric: str
    planar: int | None


class NestedDecoded(msgspec.Struct, tag=True, frozen=True):
    """Those of an original that can be decoded, at most `imaging.instances.nested_pixels.LIMIT` bytes."""

    pixels: list[NestedPixels]


class Rendered(msgspec.Struct, tag=True, frozen=True):
    """An image or document; ``notes`` say in what it differs from what was asked for."""

    media_type: str
    data: bytes
    notes: list[str]


class NotRendered(msgspec.Struct, tag=True, frozen=True):
    """Nothing can be rendered, and why; ``bad`` if the request is at fault."""

    bad: bool
    message: str


class Decoded(msgspec.Struct, tag=True, frozen=True):
    """The frames of `Decode`, in its order."""

    photometric: str
    frames: list[bytes]
