"""Frames as a data store keeps them, and back to samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

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


class _Damage(Exception):
    """A stored frame is not the one that was imported: how, to go on after "a frame …"."""


def decode_proved(
    data: bytes, head: int, stored_syntax: str, image: ImageDescription, checksum: int
) -> Samples:
    """Samples of one stored frame, shaped as `samples.frame_shape` and typed as `samples.sample_type` say.

    The only way from what is stored to samples. ``checksum`` is the frame's own from its import: of its
    samples or, where frames were kept as they came or are native, of its bytes, which are then compared
    before a codec sees them. Halved chrominance comes out in full; `decoded_photometric` names the colour
    space. Raises `DamagedError` where the frame is not the one that was imported, `PixelFailure` where it
    is, but cannot be decoded here, which holds for video always.
    """
    try:
        return _decode(data, head, stored_syntax, image, checksum)
    except _Damage as damage:
        raise _damaged(damage) from damage


def prove_bytes(pieces: Iterable[bytes], checksum: int) -> Iterator[bytes]:
    """The bytes of a frame whose checksum is of them, piece by piece.

    Raises `DamagedError` in place of the last piece where they are not those that were imported.
    """
    found, last = 0, b""
    for piece in pieces:
        if last:
            yield last
        found, last = bytes_checksum((piece,), found), piece
    if found != checksum:
        raise _damaged("has other bytes than came")
    if last:
        yield last


def frame_fault(
    data: bytes, head: int, stored_syntax: str, image: ImageDescription, checksum: int
) -> str | None:
    """What is wrong with a stored frame, to go on after "frame 3 …"; None where it is as it was imported."""
    try:
        _decode(data, head, stored_syntax, image, checksum)
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
            samples, as_described = _decode_lossless(data, head, stored_syntax, image)
        except PixelFailure as error:
            raise _Damage(f"cannot be decoded any more ({error})") from error
        if frame_checksum(samples) != checksum:
            raise _Damage("decodes to other pixels than came: its checksum differs")
        samples = as_described(samples)
    else:
        codec = _codec_of_kept(stored_syntax)
        if bytes_checksum((data,)) != checksum:
            raise _Damage("has other bytes than came: its checksum differs")
        samples = _decode_kept(data, codec, image)
    if samples.shape != frame_shape(image) or samples.dtype != sample_type(image):
        raise cannot_transcode(
            f"a stored frame decodes to {samples.dtype} {samples.shape}, which is not its own shape"
        )
    return samples


def _decode_lossless(
    data: bytes, head: int, stored_syntax: str, image: ImageDescription
) -> tuple[Samples, Callable[[Samples], Samples]]:
    """Samples as their checksum takes them, and how they become those that the attributes describe.

    JPEG 2000 frames may have come so, in a codestream that disagrees with the attributes about sign and
    width: the checksum is of the codestream's own samples then.
    """
    if stored_syntax == HTJ2K_RPCL:
        samples = htj2k.decode(
            memoryview(data)[head:], frame_shape(image), sample_type(image), image.photometric
        )
        return samples, lambda found: found
    samples, header, _ = decode_codestream(data[head:], "jpeg2000", image)
    return samples, lambda found: to_stored(found, header, image)


def _codec_of_kept(stored_syntax: str) -> str:
    syntax = SYNTAXES.get(stored_syntax)
    if syntax is None or syntax.video or syntax.codec == "jpegxl":
        raise cannot_transcode(f"frames stored under {stored_syntax} cannot be decoded here")
    return syntax.codec


def _decode_kept(data: bytes, codec: str, image: ImageDescription) -> Samples:
    if codec == "native":
        return expand_chrominance(data, image) if is_subsampled(image) else from_native(data, image)
    return decode_frame(data, codec, image)[0]


def _damaged(how: object) -> DamagedError:
    return DamagedError(f"A stored frame is damaged: it {how}; run `lightwell data verify`.")


def decoded_photometric(image: ImageDescription) -> str:
    """PhotometricInterpretation that is true of the samples of `decode_proved`: decoders undo some."""
    return _DECODED.get(image.photometric, image.photometric)


def coded_photometric(image: ImageDescription) -> str:
    """PhotometricInterpretation that is true of frames which `htj2k.encode` or `jpeg2000.encode` made.

    Both apply the reversible colour transform to what is like RGB, and to nothing else (PS3.5 8.2.4, 8.2.14).
    """
    if image.samples > 1 and image.photometric in htj2k.LIKE_RGB:
        return "YBR_RCT"
    return decoded_photometric(image)


_DECODED = {"YBR_RCT": "RGB", "YBR_ICT": "RGB", "YBR_FULL_422": "YBR_FULL", "YBR_PARTIAL_422": "YBR_PARTIAL"}
