"""Frames as a data store stores them, and decoding them to samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from lightwell.errors import DamagedError
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.dataset.transfer_syntaxes import HTJ2K_RPCL, STORED, SYNTAXES
from lightwell.imaging.errors import PixelFailure, cannot_transcode
from lightwell.imaging.pixels import htj2k
from lightwell.imaging.pixels.checksum import bytes_checksum, frame_checksum
from lightwell.imaging.pixels.decode import decode_codestream, decode_frame, to_stored
from lightwell.imaging.pixels.samples import (
    Samples,
    expand_chrominance,
    frame_shape,
    from_native,
    is_subsampled,
    sample_type,
)

ChecksumType = Literal["DECOMPRESSED", "COMPRESSED"]
"""What the checksum of a frame is of: its samples, or its stored bytes."""

_DECODED_PHOTOMETRIC = {
    "YBR_RCT": "RGB",
    "YBR_ICT": "RGB",
    "YBR_FULL_422": "YBR_FULL",
    "YBR_PARTIAL_422": "YBR_PARTIAL",
}


class Pieces:
    """Bytes too many for memory: ranges of a file, read piece by piece at each iteration."""

    def __init__(self, length: int, read: Callable[[], Iterator[bytes]]) -> None:
        self.length, self._read = length, read

    def __iter__(self) -> Iterator[bytes]:
        return self._read()


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One frame as it is stored.

    ``content`` is all its bytes, or `Pieces` of an object too large for memory (a long video). ``head`` is
    the number of bytes before the bare codestream. ``checksum`` is the CRC-32 of the decoded samples, or of
    the stored bytes if the checksum type is COMPRESSED; ``low`` and ``high`` are the least and the greatest
    stored sample, both None if the frame was not decoded.
    """

    content: bytes | Pieces
    head: int
    checksum: int
    low: int | None
    high: int | None

    @property
    def data(self) -> bytes:
        """All bytes at once; raises ValueError if there are too many, see `pieces`."""
        if isinstance(self.content, Pieces):
            raise ValueError(f"a frame of {self.content.length:,} bytes can be read only in pieces")
        return self.content

    @property
    def length(self) -> int:
        """Bytes that the frame takes in a pack."""
        return self.content.length if isinstance(self.content, Pieces) else len(self.content)

    def pieces(self) -> Iterator[bytes]:
        """All bytes in order, at most some megabytes at a time if the frame is large."""
        if isinstance(self.content, Pieces):
            yield from self.content
        else:
            yield self.content


@dataclass(frozen=True, slots=True)
class FrameEncoding:
    """What all frames of an instance have in common.

    ``decoder`` is the name and version of the codec that decoded the file, ``width`` and ``height`` are in
    pixels, ``frame_count`` is the number of frames that the stream yields (1 for a video).
    """

    stored_syntax: str
    checksum_type: ChecksumType
    decoder: str
    width: int
    height: int
    frame_count: int


class _Damage(Exception):
    """A stored frame differs from the imported one; the message continues "a frame …"."""


def decode_verified(
    data: bytes, head: int, stored_syntax: str, image: ImageDescription, checksum: int
) -> Samples:
    """Samples of one stored frame, shaped as `samples.frame_shape` and typed as `samples.sample_type` say.

    The only way from stored bytes to samples. ``checksum`` was computed at the import: of the samples or, if
    frames are verbatim or native, of the bytes, which are then compared before a codec reads them.
    Subsampled chrominance is expanded; `decoded_photometric` is the colour space. Raises `DamagedError` if
    the frame differs from the imported one, `PixelFailure` if it is intact but cannot be decoded, which is
    always so for video.
    """
    try:
        return _decode(data, head, stored_syntax, image, checksum)
    except _Damage as damage:
        raise _damaged(damage) from damage


def frame_damage(
    data: bytes,
    head: int,
    stored_syntax: str,
    image: ImageDescription,
    checksum: int,
    values: tuple[int | None, int | None] = (None, None),
) -> str | None:
    """What is wrong with a stored frame, continuing "frame 3 …"; None if it is as imported.

    ``values`` are the least and the greatest sample that the database has, None where it has none.
    """
    try:
        samples = _decode(data, head, stored_syntax, image, checksum)
        if values[0] is not None and values != (int(samples.min()), int(samples.max())):
            return "has other least and greatest values than the database says"
    except _Damage as damage:
        return str(damage)
    except PixelFailure as error:
        return f"cannot be decoded: {error}"
    return None


def has_samples_checksum(stored_syntax: str) -> bool:
    """Whether the checksum of frames under ``stored_syntax`` is of their samples, not of their bytes."""
    return stored_syntax in STORED.values()


def _decode(data: bytes, head: int, stored_syntax: str, image: ImageDescription, checksum: int) -> Samples:
    if has_samples_checksum(stored_syntax):
        try:
            samples, to_attributes = _decode_lossless(data, head, stored_syntax, image)
        except PixelFailure as error:
            raise _Damage(f"can no longer be decoded ({error})") from error
        if frame_checksum(samples) != checksum:
            raise _Damage("decodes to other pixels than were imported: its checksum differs")
        samples = to_attributes(samples)
    else:
        codec = _codec_of_verbatim(stored_syntax)
        if bytes_checksum((data,)) != checksum:
            raise _Damage("has other bytes than were imported: its checksum differs")
        samples = _decode_verbatim(data, codec, image)
    if samples.shape != frame_shape(image) or samples.dtype != sample_type(image):
        raise cannot_transcode(
            f"a stored frame decodes to {samples.dtype} {samples.shape}, which differs from its attributes"
        )
    return samples


def _decode_lossless(
    data: bytes, head: int, stored_syntax: str, image: ImageDescription
) -> tuple[Samples, Callable[[Samples], Samples]]:
    """The samples that the checksum is of, and the function that converts them to the attributes.

    JPEG 2000 frames may be stored as received, in a codestream whose sign and precision differ from the
    attributes: the checksum is then of the samples as the codestream describes them.
    """
    if stored_syntax == HTJ2K_RPCL:
        samples = htj2k.decode(
            memoryview(data)[head:], frame_shape(image), sample_type(image), image.photometric
        )
        return samples, lambda decoded: decoded
    samples, header, _ = decode_codestream(data[head:], "jpeg2000", image)
    return samples, lambda decoded: to_stored(decoded, header, image)


def _codec_of_verbatim(stored_syntax: str) -> str:
    syntax = SYNTAXES.get(stored_syntax)
    if syntax is None or syntax.video or syntax.codec == "jpegxl":
        raise cannot_transcode(f"lightwell cannot decode frames stored in transfer syntax {stored_syntax}")
    return syntax.codec


def _decode_verbatim(data: bytes, codec: str, image: ImageDescription) -> Samples:
    if codec == "native":
        return expand_chrominance(data, image) if is_subsampled(image) else from_native(data, image)
    return decode_frame(data, codec, image)[0]


def _damaged(how: object) -> DamagedError:
    return DamagedError(f"A stored frame is damaged: it {how}; run `lightwell data verify`.")


def decoded_photometric(image: ImageDescription) -> str:
    """PhotometricInterpretation of the samples of `decode_verified`: decoders undo some transforms."""
    return _DECODED_PHOTOMETRIC.get(image.photometric, image.photometric)


def coded_photometric(image: ImageDescription) -> str:
    """PhotometricInterpretation of frames that `htj2k.encode` or `jpeg2000.encode` encoded.

    Both apply the reversible colour transform to RGB, and to nothing else (PS3.5 8.2.4, 8.2.14).
    """
    if image.samples > 1 and image.photometric in htj2k.LIKE_RGB:
        return "YBR_RCT"
    return decoded_photometric(image)
