"""Pixels on their way in: from the pixel element of a file to the frames that a data store keeps.

Source: devguide/supported-transfer-syntaxes and pixel-data-verification. Three ways lead through:

- *coded*: frames are decoded, encoded losslessly, decoded again and compared; the checksum is of the
  samples.
- *native*: what the lossless formats do not serve (`samples.has_lossless_form`, and native frames with
  halved chrominance) becomes Explicit VR Little Endian frames; the checksum is of their bytes.
- *kept*: frames stay byte for byte (4.50, 4.91, 4.203, JPEG XL, video); the checksum is of their bytes.
  4.90 stays too in a store of JPEG 2000, but is decoded, and its checksum is of the samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lightwell.domain.imports.warnings import Warning
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.dataset.transfer_syntaxes import (
    EXPLICIT_LITTLE,
    JPEG2000_LOSSLESS,
    STORED,
    SYNTAXES,
    TransferSyntax,
)
from lightwell.imaging.errors import PixelFailure, cannot_extract, cannot_transcode
from lightwell.imaging.pixels import htj2k, jpeg2000
from lightwell.imaging.pixels.checksum import bytes_checksum, frame_checksum
from lightwell.imaging.pixels.decode import decode_codestream, decode_frame, to_stored
from lightwell.imaging.pixels.encapsulated import EncapsulatedFrames, end_of_element, read_fragments
from lightwell.imaging.pixels.native import NativeFrames, swap_unit
from lightwell.imaging.pixels.samples import (
    Samples,
    check_description,
    extend_sign,
    has_lossless_form,
    is_subsampled,
    native_bits,
    to_native,
    whole_frame,
)
from lightwell.imaging.pixels.signature_check import HEAD, check_kept
from lightwell.imaging.pixels.stored_frames import EncodedFrame, Pieces, StoredPixels, decode_proved

if TYPE_CHECKING:
    from lightwell.domain.image_sets.frame_table import Frame
    from lightwell.imaging.dataset.byte_source import Source
    from lightwell.imaging.dataset.part10 import Part10
    from lightwell.imaging.instances.parse import PixelElement

FRAME_LIMIT = 1 << 29
"""Bytes that one decoded frame, and one coded frame that has to be decoded, may have."""

MEMORY_LIMIT = 1 << 26
"""Bytes of a kept frame above which it is handed on in pieces."""


ReadPack = Callable[[int, int], bytes]


class _Frames(Protocol):
    def read(self, number: int) -> bytes: ...


class FrameStream(ABC):
    """The frames of one instance, made one at a time while iterating; may be iterated again.

    Iterating raises `PixelFailure` at the first frame that cannot be stored: what was yielded before is
    then void, and the pixel element is kept as one blob (`blob_ranges`). ``warnings`` may grow while
    iterating, and ``stored.decoder`` is complete after it.
    """

    def __init__(self, stored: StoredPixels) -> None:
        self._stored = stored
        self._decoders: list[str] = []
        self.warnings: list[Warning] = []

    @property
    def stored(self) -> StoredPixels:
        return replace(self._stored, decoder=", ".join(self._decoders))

    def __len__(self) -> int:
        return self._stored.frame_count

    def __iter__(self) -> Iterator[EncodedFrame]:
        for number in range(self._stored.frame_count):
            yield self._frame(number)

    @abstractmethod
    def _frame(self, number: int) -> EncodedFrame: ...

    @abstractmethod
    def is_kept(self, number: int, kept: Frame, read: ReadPack) -> bool:
        """Whether ``kept`` is what would be stored of frame ``number``, which is not encoded for it.

        ``read(offset, length)`` reads from the pack of ``kept``, whose image description has to be the same.
        Transcoded frames are compared sample for sample, others byte for byte. Raises `PixelFailure` where
        the frame cannot be read, and `StorageError` where ``kept`` cannot, or is damaged.
        """

    def _note(self, decoder: str) -> None:
        if decoder not in self._decoders:
            self._decoders.append(decoder)


class _Samples:
    """Samples of every frame, whatever the syntax."""

    def __init__(self, frames: _Frames, codec: str, image: ImageDescription) -> None:
        self.frames, self.codec, self.image = frames, codec, image

    def decode(self, number: int) -> tuple[Samples, str]:
        return decode_frame(self.frames.read(number), self.codec, self.image)

    def native(self, number: int) -> tuple[bytes, str]:
        """The same as one native little-endian frame; bytes that are native already are not decoded."""
        if self.codec == "native":
            return whole_frame(self.frames.read(number), self.image), "native"
        samples, decoder = self.decode(number)
        return to_native(samples, self.image), decoder


class _Coded(FrameStream):
    """Frames encoded losslessly."""

    def __init__(self, stored: StoredPixels, samples: _Samples, second: bool) -> None:
        super().__init__(stored)
        self._samples, self._second = samples, second

    def _frame(self, number: int) -> EncodedFrame:
        samples, decoder = self._samples.decode(number)
        self._note(decoder)
        samples = extend_sign(samples, self._samples.image)
        photometric = self._samples.image.photometric
        if self._stored.stored_syntax == JPEG2000_LOSSLESS:
            data, head = jpeg2000.encode(samples, photometric), 0
        else:
            data, head = htj2k.encode(samples, photometric, second=self._second)
        return EncodedFrame(data, head, frame_checksum(samples), int(samples.min()), int(samples.max()))

    def is_kept(self, number: int, kept: Frame, read: ReadPack) -> bool:
        samples, decoder = self._samples.decode(number)
        self._note(decoder)
        samples = extend_sign(samples, self._samples.image)
        if (kept.low, kept.high) != (int(samples.min()), int(samples.max())):
            return False
        data = read(kept.offset, kept.length)
        syntax = self._stored.stored_syntax
        there = decode_proved(data, kept.head, syntax, self._samples.image, kept.checksum)
        return there.dtype == samples.dtype and np.array_equal(there, samples)


class _Native(FrameStream):
    """Frames in Explicit VR Little Endian: native ones as they are, coded ones decoded."""

    def __init__(self, stored: StoredPixels, samples: _Samples) -> None:
        super().__init__(stored)
        self._samples = samples

    def _frame(self, number: int) -> EncodedFrame:
        data, decoder = self._samples.native(number)
        self._note(decoder)
        return EncodedFrame(data, 0, bytes_checksum((data,)), None, None)

    def is_kept(self, number: int, kept: Frame, read: ReadPack) -> bool:
        data, decoder = self._samples.native(number)
        self._note(decoder)
        return is_same_bytes((data,), len(data), kept, read)


class _Kept(FrameStream):
    """Frames byte for byte as in the file."""

    def __init__(self, stored: StoredPixels, frames: EncapsulatedFrames, syntax: TransferSyntax) -> None:
        super().__init__(stored)
        self._frames, self._syntax = frames, syntax

    def _frame(self, number: int) -> EncodedFrame:
        if self._frames.size(number) > MEMORY_LIMIT:
            check_kept(self._frames.head(number, HEAD), self._syntax)
            checksum = bytes_checksum(self._frames.pieces(number))
            content = Pieces(self._frames.size(number), partial(self._frames.pieces, number))
            return EncodedFrame(content, 0, checksum, None, None)
        data = self._frames.read(number)
        check_kept(data[:HEAD], self._syntax)
        return EncodedFrame(data, 0, bytes_checksum((data,)), None, None)

    def is_kept(self, number: int, kept: Frame, read: ReadPack) -> bool:
        check_kept(self._frames.head(number, HEAD), self._syntax)
        return is_same_bytes(self._frames.pieces(number), self._frames.size(number), kept, read)


class _KeptLossless(FrameStream):
    """JPEG 2000 lossless frames in a store of that format: kept, but decoded for checksum and range."""

    def __init__(self, stored: StoredPixels, frames: EncapsulatedFrames, image: ImageDescription) -> None:
        super().__init__(stored)
        self._frames, self._image = frames, image

    def _frame(self, number: int) -> EncodedFrame:
        data = self._frames.read(number)
        samples, header, decoder = decode_codestream(data, "jpeg2000", self._image)
        self._note(decoder)
        pixels = extend_sign(to_stored(samples, header, self._image), self._image)
        return EncodedFrame(data, 0, frame_checksum(samples), int(pixels.min()), int(pixels.max()))

    def is_kept(self, number: int, kept: Frame, read: ReadPack) -> bool:
        data = self._frames.read(number)
        if data != read(kept.offset, kept.length):
            return False
        decode_proved(data, kept.head, self._stored.stored_syntax, self._image, kept.checksum)
        return True


def store_pixels(
    part10: Part10,
    image: ImageDescription,
    pixel: PixelElement,
    storage_format: str,
    *,
    frame_limit: int = FRAME_LIMIT,
    second: bool = False,
) -> FrameStream:
    """The frames of an instance as a store of ``storage_format`` (HTJ2K or JPEG_2000_LOSSLESS) keeps them.

    ``frame_limit`` bounds the bytes of one frame. ``second`` has every HTJ2K frame decoded by OpenJPEG too.
    Raises `PixelFailure`, here or while iterating, where the pixel element has to be kept as one blob.
    """
    syntax = SYNTAXES.get(part10.transfer_syntax)
    if syntax is None:
        raise PixelFailure(
            "UnsupportedTransferSyntax", f"the transfer syntax {part10.transfer_syntax} is not supported"
        )
    source = part10.source
    if syntax.video:
        video = EncapsulatedFrames(
            source, read_fragments(source, pixel.offset, pixel.length), None, syntax.codec
        )
        return _Kept(_stored(image, syntax.uid, "COMPRESSED", 1), video, syntax)
    check_description(image)
    if (native_bits(image) + 7) // 8 > frame_limit:
        raise cannot_transcode(
            f"one frame has {native_bits(image) // 8:,} bytes, at most {frame_limit:,} are taken"
        )
    if not syntax.encapsulated:
        return _store_native(part10, image, pixel, storage_format, second)
    if pixel.keyword != "PixelData":
        raise cannot_extract(
            f"{pixel.keyword} cannot be compressed, but the transfer syntax is {syntax.name}"
        )
    fragments = read_fragments(source, pixel.offset, pixel.length)
    tables = _extended_tables(source, pixel)
    frames = EncapsulatedFrames(source, fragments, image.frames, syntax.codec, tables)
    if syntax.verbatim:
        return _Kept(_stored(image, syntax.uid, "COMPRESSED"), frames, syntax)
    if frames.largest() > frame_limit:
        raise cannot_transcode(
            f"a coded frame has {frames.largest():,} bytes, at most {frame_limit:,} are decoded"
        )
    if syntax.uid == JPEG2000_LOSSLESS == STORED[storage_format]:
        return _KeptLossless(_stored(image, syntax.uid, "DECOMPRESSED"), frames, image)
    samples = _Samples(frames, syntax.codec, image)
    halved = is_subsampled(image) and syntax.codec in ("native", "deflate")
    if has_lossless_form(image) and not halved:
        return _Coded(_stored(image, STORED[storage_format], "DECOMPRESSED"), samples, second)
    if is_subsampled(image) and not halved:
        raise cannot_transcode(
            f"decoded frames hold more than {image.photometric} says, and as native ones would be misread"
        )
    return _Native(_stored(image, EXPLICIT_LITTLE, "COMPRESSED"), samples)


def is_same_bytes(pieces: Iterable[bytes], length: int, kept: Frame, read: ReadPack) -> bool:
    """Whether a kept frame, or blob, has these ``length`` bytes, and the checksum that is of them."""
    if length != kept.length:
        return False
    done = checksum = 0
    for piece in pieces:
        if piece != read(kept.offset + done, len(piece)):
            return False
        checksum = bytes_checksum((piece,), checksum)
        done += len(piece)
    return done == length and checksum == kept.checksum


def blob_ranges(part10: Part10, pixel: PixelElement) -> list[tuple[int, int]]:
    """(offset, length) of the value of the pixel element in ``part10.source``, item headers and all.

    What is cut off ends where the file does.
    """
    if pixel.length < 0:
        end = end_of_element(part10.source, pixel.offset)
    else:
        end = min(pixel.offset + pixel.length, part10.source.size)
    return [(pixel.offset, end - pixel.offset)] if end > pixel.offset else []


def _store_native(
    part10: Part10, image: ImageDescription, pixel: PixelElement, storage_format: str, second: bool
) -> FrameStream:
    if pixel.length < 0:
        raise cannot_extract("the pixel data is encapsulated, but the transfer syntax is an uncompressed one")
    if not part10.little_endian and image.pixel_keyword == "PixelData" and image.bits_allocated > 16:
        # OW swaps the bytes of 16-bit words and leaves these in little endian order (PS3.5 7.3), as DCMTK and
        # GDCM do; other writers swap whole samples. Nothing in the file tells which of them it came from.
        raise cannot_transcode(
            f"samples of {image.bits_allocated} bits in big endian order are written in two ways:"
            " send the file in a little endian transfer syntax"
        )
    swapped = swap_unit(image, pixel.vr, big_endian=not part10.little_endian)
    frames = NativeFrames(part10.source, pixel.offset, pixel.length, image, swapped)
    samples = _Samples(frames, "native", image)
    if has_lossless_form(image) and not is_subsampled(image):
        return _Coded(_stored(image, STORED[storage_format], "DECOMPRESSED"), samples, second)
    return _Native(_stored(image, EXPLICIT_LITTLE, "COMPRESSED"), samples)


def _extended_tables(source: Source, pixel: PixelElement) -> tuple[bytes, bytes | None] | None:
    if pixel.offset_table is None:
        return None
    offsets = source.read(*pixel.offset_table)
    return offsets, source.read(*pixel.length_table) if pixel.length_table else None


def _stored(
    image: ImageDescription, syntax: str, checksum_type: str, count: int | None = None
) -> StoredPixels:
    frames = image.frames if count is None else count
    return StoredPixels(syntax, checksum_type, "", image.columns, image.rows, frames)
