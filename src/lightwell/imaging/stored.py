"""Frames as a data store keeps them, and back to samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lightwell.errors import StorageError
from lightwell.imaging import htj2k
from lightwell.imaging.checksum import frame_checksum
from lightwell.imaging.decode import decode_frame
from lightwell.imaging.failure import PixelFailure, cannot_transcode
from lightwell.imaging.image import ImageDescription
from lightwell.imaging.samples import (
    Samples,
    expand_chrominance,
    frame_shape,
    from_native,
    is_subsampled,
    sample_type,
)
from lightwell.imaging.syntaxes import EXPLICIT_LITTLE, HTJ2K_RPCL, SYNTAXES


class Pieces:
    """Bytes too many to hold at once: ranges of a file, read piece by piece as often as asked."""

    def __init__(self, length: int, read: Callable[[], Iterator[bytes]]) -> None:
        self.length, self._read = length, read

    def __iter__(self) -> Iterator[bytes]:
        return self._read()


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One frame as it is stored.

    ``content`` is all its bytes, or `Pieces` of an object too large for memory (a long video). ``head`` is
    how many of them stand before the bare codestream. ``checksum`` is the CRC-32 of the decoded samples, or
    of the stored bytes where the checksum type is COMPRESSED; ``low`` and ``high`` are the least and
    greatest stored sample, both None where the frame was not decoded.
    """

    content: bytes | Pieces
    head: int
    checksum: int
    low: int | None
    high: int | None

    @property
    def data(self) -> bytes:
        """All bytes at once; raises ValueError where there are too many, see `pieces`."""
        if isinstance(self.content, Pieces):
            raise ValueError(f"a frame of {self.content.length:,} bytes comes in pieces only")
        return self.content

    @property
    def length(self) -> int:
        """Bytes that the frame takes in a pack."""
        return self.content.length if isinstance(self.content, Pieces) else len(self.content)

    def pieces(self) -> Iterator[bytes]:
        """All bytes in order, at most some megabytes at a time where the frame is large."""
        if isinstance(self.content, Pieces):
            yield from self.content
        else:
            yield self.content


@dataclass(frozen=True, slots=True)
class StoredPixels:
    """What all frames of an instance have in common.

    ``checksum_type`` is DECOMPRESSED or COMPRESSED, ``decoder`` the name and version of what decoded the
    file, ``width`` and ``height`` are in pixels, ``frame_count`` is how many frames the stream yields (1
    for a video).
    """

    stored_syntax: str
    checksum_type: str
    decoder: str
    width: int
    height: int
    frame_count: int


def decode_stored(data: bytes, head: int, stored_syntax: str, image: ImageDescription) -> Samples:
    """Samples of one stored frame, shaped as `samples.frame_shape` and typed as `samples.sample_type` say.

    Halved chrominance comes out in full; `decoded_photometric` names the colour space. Raises `PixelFailure`,
    for video always.
    """
    if stored_syntax == HTJ2K_RPCL:
        samples = htj2k.decode(memoryview(data)[head:])
    elif stored_syntax == EXPLICIT_LITTLE:
        samples = expand_chrominance(data, image) if is_subsampled(image) else from_native(data, image)
    else:
        syntax = SYNTAXES.get(stored_syntax)
        if syntax is None or syntax.video or syntax.codec == "jpegxl":
            raise cannot_transcode(f"frames stored under {stored_syntax} cannot be decoded here")
        samples, _ = decode_frame(data[head:], syntax.codec, image)
    if samples.shape != frame_shape(image) or samples.dtype != sample_type(image):
        raise cannot_transcode(
            f"a stored frame decodes to {samples.dtype} {samples.shape}, which is not its own shape"
        )
    return samples


def decode_proved(
    data: bytes, head: int, stored_syntax: str, image: ImageDescription, checksum: int
) -> Samples:
    """`decode_stored` of a transcoded frame, proved by the CRC-32 of its samples at import.

    Raises `StorageError` where it does not give the pixels that were imported.
    """
    try:
        samples = decode_stored(data, head, stored_syntax, image)
    except PixelFailure as error:
        raise StorageError(f"A stored frame is damaged: {error}; run `lightwell data verify`.") from error
    if frame_checksum(samples) != checksum:
        raise StorageError("A stored frame decodes to other pixels than came; run `lightwell data verify`.")
    return samples


def decoded_photometric(image: ImageDescription) -> str:
    """PhotometricInterpretation that is true of the samples of `decode_stored`: decoders undo some."""
    return _DECODED.get(image.photometric, image.photometric)


def coded_photometric(image: ImageDescription) -> str:
    """PhotometricInterpretation that is true of frames which `htj2k.encode` or `jpeg2000.encode` made.

    Both apply the reversible colour transform to what is like RGB, and to nothing else (PS3.5 8.2.4, 8.2.14).
    """
    if image.samples > 1 and image.photometric in htj2k.LIKE_RGB:
        return "YBR_RCT"
    return decoded_photometric(image)


_DECODED = {"YBR_RCT": "RGB", "YBR_ICT": "RGB", "YBR_FULL_422": "YBR_FULL", "YBR_PARTIAL_422": "YBR_PARTIAL"}
