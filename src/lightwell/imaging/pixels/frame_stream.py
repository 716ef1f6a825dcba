"""From the pixel element of a file to the frames that a data store stores.

Source: devguide/supported-transfer-syntaxes and pixel-data-verification. Frames are stored in one of three
ways:

- *lossless*: frames are decoded, encoded losslessly, decoded again and compared; the checksum is of the
  samples.
- *native*: frames that the lossless formats do not support (`samples.has_lossless_form`, and native frames
  with subsampled chrominance) become Explicit VR Little Endian frames; the checksum is of their bytes.
- *verbatim*: frames are stored byte for byte (4.50, 4.91, 4.203, JPEG XL, video); the checksum is of their
  bytes. So is 4.90 in a JPEG 2000 data store, but it is decoded, and the checksum is of the samples.
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
from lightwell.imaging.errors import PixelFailure, cannot_extract, cannot_transcode, wrong_offsets
from lightwell.imaging.pixels import htj2k, jpeg2000
from lightwell.imaging.pixels.checksum import bytes_checksum, frame_checksum
from lightwell.imaging.pixels.decode import decode_codestream, decode_frame, to_stored
from lightwell.imaging.pixels.encapsulated import EncapsulatedFrames, end_of_element, read_fragments
from lightwell.imaging.pixels.native import NativeFrames, swapped_word_size
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
from lightwell.imaging.pixels.signature_check import SIGNATURE_BYTES, check_signature
from lightwell.imaging.pixels.stored_frames import (
    ChecksumType,
    EncodedFrame,
    FrameEncoding,
    Pieces,
    decode_verified,
)

if TYPE_CHECKING:
    from lightwell.domain.image_sets.frame_table import Frame
    from lightwell.imaging.dataset.byte_source import Source
    from lightwell.imaging.dataset.part10 import Part10
    from lightwell.imaging.instances.parse import PixelElement

FRAME_LIMIT = 1 << 29
"""Most bytes of a decoded frame, and of a coded frame that has to be decoded."""

MEMORY_LIMIT = 1 << 26
"""Bytes above which a frame that is stored verbatim is read in pieces."""


ReadPack = Callable[[int, int], bytes]


class _Frames(Protocol):
    def read(self, number: int) -> bytes: ...


class FrameStream(ABC):
    """The frames of one instance, encoded one at a time while iterating; may be iterated again.

    Iterating raises `PixelFailure` at the first frame that cannot be stored: the frames before it are then
    void, and the pixel element is stored as one blob (`blob_ranges`). ``stored.decoder`` is complete after
    iterating. ``warnings`` say what of the pixel element was ignored.
    """

    def __init__(self, stored: FrameEncoding) -> None:
        self._stored = stored
        self._decoders: list[str] = []
        self.warnings: tuple[Warning, ...] = ()

    @property
    def stored(self) -> FrameEncoding:
        return replace(self._stored, decoder=", ".join(self._decoders))

    def __len__(self) -> int:
        return self._stored.frame_count

    def __iter__(self) -> Iterator[EncodedFrame]:
        for number in range(self._stored.frame_count):
            yield self._frame(number)

    @abstractmethod
    def _frame(self, number: int) -> EncodedFrame: ...

    @abstractmethod
    def is_stored_as(self, number: int, stored_frame: Frame, read_pack: ReadPack) -> bool:
        """Whether ``stored_frame`` is what frame ``number`` would be stored as; it is not encoded for that.

        ``read_pack(offset, length)`` reads from the pack of ``stored_frame``, whose image description has to
        be the same. Transcoded frames are compared by samples, others by bytes. Raises `PixelFailure` if the
        frame cannot be read, and `StorageError` if ``stored_frame`` cannot be read or is damaged.
        """

    def _record_decoder(self, decoder: str) -> None:
        if decoder not in self._decoders:
            self._decoders.append(decoder)


class _FrameDecoder:
    """Decodes the frames of an instance, in any transfer syntax."""

    def __init__(self, frames: _Frames, codec: str, image: ImageDescription) -> None:
        self.frames, self.codec, self.image = frames, codec, image

    def decode(self, number: int) -> tuple[Samples, str]:
        return decode_frame(self.frames.read(number), self.codec, self.image)

    def native(self, number: int) -> tuple[bytes, str]:
        """The frame in native little-endian form; frames that are native already are not decoded."""
        if self.codec == "native":
            return whole_frame(self.frames.read(number), self.image), "native"
        samples, decoder = self.decode(number)
        return to_native(samples, self.image), decoder


class _LosslessStream(FrameStream):
    """Frames transcoded to the lossless storage format."""

    def __init__(self, stored: FrameEncoding, decoder: _FrameDecoder, cross_check: bool) -> None:
        super().__init__(stored)
        self._decoder, self._cross_check = decoder, cross_check

    def _frame(self, number: int) -> EncodedFrame:
        samples, decoder = self._decoder.decode(number)
        self._record_decoder(decoder)
        samples = extend_sign(samples, self._decoder.image)
        photometric = self._decoder.image.photometric
        if self._stored.stored_syntax == JPEG2000_LOSSLESS:
            data, head = jpeg2000.encode(samples, photometric), 0
        else:
            data, head = htj2k.encode(samples, photometric, cross_check=self._cross_check)
        return EncodedFrame(data, head, frame_checksum(samples), int(samples.min()), int(samples.max()))

    def is_stored_as(self, number: int, stored_frame: Frame, read_pack: ReadPack) -> bool:
        samples, decoder = self._decoder.decode(number)
        self._record_decoder(decoder)
        samples = extend_sign(samples, self._decoder.image)
        if (stored_frame.low, stored_frame.high) != (int(samples.min()), int(samples.max())):
            return False
        data = read_pack(stored_frame.offset, stored_frame.length)
        syntax = self._stored.stored_syntax
        stored_samples = decode_verified(
            data, stored_frame.head, syntax, self._decoder.image, stored_frame.checksum
        )
        return stored_samples.dtype == samples.dtype and np.array_equal(stored_samples, samples)


class _NativeStream(FrameStream):
    """Frames in Explicit VR Little Endian: native ones unchanged, coded ones decoded."""

    def __init__(self, stored: FrameEncoding, decoder: _FrameDecoder) -> None:
        super().__init__(stored)
        self._decoder = decoder

    def _frame(self, number: int) -> EncodedFrame:
        data, decoder = self._decoder.native(number)
        self._record_decoder(decoder)
        return EncodedFrame(data, 0, bytes_checksum((data,)), None, None)

    def is_stored_as(self, number: int, stored_frame: Frame, read_pack: ReadPack) -> bool:
        data, decoder = self._decoder.native(number)
        self._record_decoder(decoder)
        return has_same_bytes((data,), len(data), stored_frame, read_pack)


class _VerbatimStream(FrameStream):
    """Frames byte for byte as in the file."""

    def __init__(self, stored: FrameEncoding, frames: EncapsulatedFrames, syntax: TransferSyntax) -> None:
        super().__init__(stored)
        self._frames, self._syntax = frames, syntax

    def _frame(self, number: int) -> EncodedFrame:
        if self._frames.size(number) > MEMORY_LIMIT:
            check_signature(self._frames.head(number, SIGNATURE_BYTES), self._syntax)
            checksum = bytes_checksum(self._frames.pieces(number))
            content = Pieces(self._frames.size(number), partial(self._frames.pieces, number))
            return EncodedFrame(content, 0, checksum, None, None)
        data = self._frames.read(number)
        check_signature(data[:SIGNATURE_BYTES], self._syntax)
        return EncodedFrame(data, 0, bytes_checksum((data,)), None, None)

    def is_stored_as(self, number: int, stored_frame: Frame, read_pack: ReadPack) -> bool:
        check_signature(self._frames.head(number, SIGNATURE_BYTES), self._syntax)
        return has_same_bytes(self._frames.pieces(number), self._frames.size(number), stored_frame, read_pack)


class _VerbatimLosslessStream(FrameStream):
    """JPEG 2000 lossless frames in a data store of that format: verbatim, decoded for checksum and range."""

    def __init__(self, stored: FrameEncoding, frames: EncapsulatedFrames, image: ImageDescription) -> None:
        super().__init__(stored)
        self._frames, self._image = frames, image

    def _frame(self, number: int) -> EncodedFrame:
        data = self._frames.read(number)
        samples, header, decoder = decode_codestream(data, "jpeg2000", self._image)
        self._record_decoder(decoder)
        pixels = extend_sign(to_stored(samples, header, self._image), self._image)
        return EncodedFrame(data, 0, frame_checksum(samples), int(pixels.min()), int(pixels.max()))

    def is_stored_as(self, number: int, stored_frame: Frame, read_pack: ReadPack) -> bool:
        data = self._frames.read(number)
        if data != read_pack(stored_frame.offset, stored_frame.length):
            return False
        decode_verified(
            data, stored_frame.head, self._stored.stored_syntax, self._image, stored_frame.checksum
        )
        return True


def open_frame_stream(
    part10: Part10,
    image: ImageDescription,
    pixel: PixelElement,
    storage_format: str,
    *,
    frame_limit: int = FRAME_LIMIT,
    cross_check: bool = False,
) -> FrameStream:
    """The frames of an instance as a data store of ``storage_format`` (HTJ2K or JPEG_2000_LOSSLESS) stores
    them.

    ``frame_limit`` bounds the bytes of one frame. ``cross_check``: OpenJPEG decodes every HTJ2K frame, too.
    Raises `PixelFailure`, here or while iterating, if the pixel element has to be a blob.
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
        return _VerbatimStream(_stored_pixels(image, syntax.uid, "COMPRESSED", 1), video, syntax)
    check_description(image)
    if (native_bits(image) + 7) // 8 > frame_limit:
        raise cannot_transcode(
            f"one frame has {native_bits(image) // 8:,} bytes, the limit is {frame_limit:,}"
        )
    if not syntax.encapsulated:
        return _native_stream(part10, image, pixel, storage_format, cross_check)
    if pixel.keyword != "PixelData":
        raise cannot_extract(
            f"{pixel.keyword} cannot be encapsulated, but the transfer syntax is {syntax.name}"
        )
    fragments = read_fragments(source, pixel.offset, pixel.length)
    tables = _extended_tables(source, pixel, len(fragments))
    frames = EncapsulatedFrames(source, fragments, image.frames, syntax.codec, tables)
    stream = _encapsulated_stream(frames, syntax, image, storage_format, frame_limit, cross_check)
    stream.warnings = frames.warnings
    return stream


def _encapsulated_stream(
    frames: EncapsulatedFrames,
    syntax: TransferSyntax,
    image: ImageDescription,
    storage_format: str,
    frame_limit: int,
    cross_check: bool,
) -> FrameStream:
    if syntax.verbatim:
        return _VerbatimStream(_stored_pixels(image, syntax.uid, "COMPRESSED"), frames, syntax)
    if frames.largest() > frame_limit:
        raise cannot_transcode(f"a coded frame has {frames.largest():,} bytes, the limit is {frame_limit:,}")
    if syntax.uid == JPEG2000_LOSSLESS == STORED[storage_format]:
        return _VerbatimLosslessStream(_stored_pixels(image, syntax.uid, "DECOMPRESSED"), frames, image)
    decoder = _FrameDecoder(frames, syntax.codec, image)
    subsampled_native = is_subsampled(image) and syntax.codec in ("native", "deflate")
    if has_lossless_form(image) and not subsampled_native:
        return _LosslessStream(
            _stored_pixels(image, STORED[storage_format], "DECOMPRESSED"), decoder, cross_check
        )
    if is_subsampled(image) and not subsampled_native:
        raise cannot_transcode(
            f"decoded frames have full chrominance, which readers would misread as native {image.photometric}"
        )
    return _NativeStream(_stored_pixels(image, EXPLICIT_LITTLE, "COMPRESSED"), decoder)


def has_same_bytes(pieces: Iterable[bytes], length: int, stored_frame: Frame, read_pack: ReadPack) -> bool:
    """Whether a stored frame, or blob, has these ``length`` bytes and their checksum."""
    if length != stored_frame.length:
        return False
    done = checksum = 0
    for piece in pieces:
        if piece != read_pack(stored_frame.offset + done, len(piece)):
            return False
        checksum = bytes_checksum((piece,), checksum)
        done += len(piece)
    return done == length and checksum == stored_frame.checksum


def blob_ranges(part10: Part10, pixel: PixelElement) -> list[tuple[int, int]]:
    """(offset, length) of the value of the pixel element in ``part10.source``, including item headers.

    A value that is cut off ends with the file.
    """
    if pixel.length < 0:
        end = end_of_element(part10.source, pixel.offset)
    else:
        end = min(pixel.offset + pixel.length, part10.source.size)
    return [(pixel.offset, end - pixel.offset)] if end > pixel.offset else []


def _native_stream(
    part10: Part10,
    image: ImageDescription,
    pixel: PixelElement,
    storage_format: str,
    cross_check: bool,
) -> FrameStream:
    if pixel.length < 0:
        raise cannot_extract("the pixel data is encapsulated, but the transfer syntax is a native one")
    if not part10.little_endian and image.pixel_keyword == "PixelData" and image.bits_allocated > 16:
        # OW swaps the bytes of 16-bit words and leaves the words in little endian order (PS3.5 7.3), as DCMTK
        # and GDCM do; other writers swap whole samples. Nothing in the file tells which of them wrote it.
        raise cannot_transcode(
            f"samples of {image.bits_allocated} bits in big endian order are written in two ways;"
            " send the file in a little endian transfer syntax"
        )
    word_size = swapped_word_size(image, pixel.vr, big_endian=not part10.little_endian)
    frames = NativeFrames(part10.source, pixel.offset, pixel.length, image, word_size)
    decoder = _FrameDecoder(frames, "native", image)
    if has_lossless_form(image) and not is_subsampled(image):
        return _LosslessStream(
            _stored_pixels(image, STORED[storage_format], "DECOMPRESSED"), decoder, cross_check
        )
    return _NativeStream(_stored_pixels(image, EXPLICIT_LITTLE, "COMPRESSED"), decoder)


def _extended_tables(
    source: Source, pixel: PixelElement, fragments: int
) -> tuple[bytes, bytes | None] | None:
    if pixel.offset_table is None:
        return None
    if any(table and table[1] > 8 * fragments for table in (pixel.offset_table, pixel.length_table)):
        raise wrong_offsets(f"the extended offset table has more entries than the {fragments} fragments")
    offsets = source.read(*pixel.offset_table)
    return offsets, source.read(*pixel.length_table) if pixel.length_table else None


def _stored_pixels(
    image: ImageDescription, syntax: str, checksum_type: ChecksumType, count: int | None = None
) -> FrameEncoding:
    frames = image.frames if count is None else count
    return FrameEncoding(syntax, checksum_type, "", image.columns, image.rows, frames)
