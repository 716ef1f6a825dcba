"""Decoding pixel data within sequences, such as icons; for codec workers only, since it comes from others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lightwell.errors import InputError
from lightwell.imaging.dataset.dictionary import attribute_of
from lightwell.imaging.dataset.element_scanner import ElementScanner, ElementSpan, Encoding
from lightwell.imaging.dataset.full_parser import FullParser, ItemContext, sorted_by_tag, vr_of
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.dataset.nested_pixels import NativePixels, encapsulated_pixels
from lightwell.imaging.dataset.part10 import Part10
from lightwell.imaging.dataset.transfer_syntaxes import SYNTAXES
from lightwell.imaging.errors import PixelFailure, cannot_transcode
from lightwell.imaging.instances.writer import pack_bit_frames
from lightwell.imaging.pixels.codestream_header import read_header
from lightwell.imaging.pixels.decode import decode_frame
from lightwell.imaging.pixels.encapsulated import EncapsulatedFrames, read_fragments
from lightwell.imaging.pixels.jp2_boxes import SIGNATURE
from lightwell.imaging.pixels.samples import check_description, to_native
from lightwell.imaging.pixels.stored_frames import decoded_photometric
from lightwell.imaging.rendering.colour import header_photometric

LIMIT = 64 << 20
"""Bytes of nested pixel data that are decoded of one instance, all together."""

# What an icon counts for at least, so that their number is bounded, too.
_LEAST = 4096
_DECODED = frozenset({"rle", "native", "deflate"})
_MOST_FRAMES = 10_000


class NestedDecoder:
    """A `DecodeNested` for the items of one instance, in the order of the data set.

    ``syntax`` is the TransferSyntaxUID of the file.
    """

    def __init__(self, syntax: str) -> None:
        known = SYNTAXES.get(syntax)
        self._codec = known.codec if known is not None and known.encapsulated else ""
        self._remaining = LIMIT

    def __call__(
        self, scanner: ElementScanner, elements: Sequence[ElementSpan], pixel: ElementSpan
    ) -> NativePixels | str:
        try:
            return self._decode(scanner, elements, pixel)
        except PixelFailure as failure:
            return str(failure)

    def _decode(
        self, scanner: ElementScanner, elements: Sequence[ElementSpan], pixel: ElementSpan
    ) -> NativePixels:
        image = _describe(scanner, elements)
        check_description(image)
        size = (image.frame_bits * image.frames + 7) // 8
        self._remaining -= max(size, pixel.length, _LEAST)
        if self._remaining < 0 or image.frames > _MOST_FRAMES:
            raise cannot_transcode(f"lightwell decodes {LIMIT:,} bytes of it in one instance")
        fragments = read_fragments(scanner.source, pixel.value, pixel.length)
        frames = EncapsulatedFrames(scanner.source, fragments, image.frames, self._codec or "jpeg")
        native, photometrics = [], set()
        for number in range(len(frames)):
            data = frames.read(number)
            codec = _codec_of(data, self._codec)
            samples, _ = decode_frame(data, codec, image)
            photometric = decoded_photometric(image)
            photometrics.add(
                header_photometric(data, codec, photometric) if image.samples == 3 else photometric
            )
            native.append(to_native(samples, image))
        if len(photometrics) != 1:
            raise cannot_transcode("its frames have different colour spaces")
        value = b"".join(pack_bit_frames(native, image.frame_bits))
        return NativePixels(
            value + b"\0" * (len(value) % 2),
            "OW" if image.bits_allocated > 8 else "OB",
            photometrics.pop(),
            image.planar if image.samples > 1 else None,
        )


def decode_nested(part10: Part10) -> Iterator[tuple[int, NativePixels]]:
    """The nested pixel data of a file that can be decoded, each by the offset of its value in ``source``.

    Raises `InputError` if the data set is damaged.
    """
    scanner = ElementScanner(part10.source)
    start = part10.dataset_offset
    encoding = scanner.detect_encoding(
        start, Encoding(implicit=part10.implicit, big=not part10.little_endian)
    )
    spans = [span for span in scanner.scan_dataset(start, encoding) if span.tag >> 16 not in (0, 2)]
    decode = NestedDecoder(part10.transfer_syntax)
    for elements, pixel in _NestedPixelFinder(scanner).find(spans):
        native = decode(scanner, elements, pixel)
        if isinstance(native, NativePixels):
            yield pixel.value, native


class _NestedPixelFinder(FullParser):
    """Finds items with encapsulated pixel data, in the order in which they are parsed."""

    def find(self, spans: Sequence[ElementSpan]) -> Iterator[tuple[Sequence[ElementSpan], ElementSpan]]:
        ordered = sorted_by_tag(spans, [])
        context = self._context_of(ordered, None, [])
        for span in ordered:
            yield from self._in_element(span, context, 0)

    def _in_element(
        self, span: ElementSpan, context: ItemContext, depth: int
    ) -> Iterator[tuple[Sequence[ElementSpan], ElementSpan]]:
        if vr_of(span, attribute_of(span.tag), context) != "SQ":
            return
        try:
            for elements in self._scanner.scan_items(span, depth):
                ordered = sorted_by_tag(elements, [])
                pixel = encapsulated_pixels(ordered)
                if pixel is not None:
                    yield ordered, pixel
                item_context = self._context_of(ordered, context, [])
                for inner in ordered:
                    yield from self._in_element(inner, item_context, depth + 1)
        except InputError:
            if span.vr == "SQ" or span.undefined:
                raise
            # a sequence by the dictionary only


def _codec_of(data: bytes, declared: str) -> str:
    """The codec by which a codestream begins, whatever the file declares: some writers keep JPEG icons."""
    if data.startswith((b"\xff\x4f\xff\x51", SIGNATURE)):
        return "jpeg2000"
    if data.startswith(b"\xff\xd8\xff"):
        try:
            read_header(data, "jpegls")
        except PixelFailure:
            return "jpeg"
        return "jpegls"
    if declared not in _DECODED:
        raise cannot_transcode("lightwell has no decoder for it")
    return declared


def _describe(scanner: ElementScanner, elements: Sequence[ElementSpan]) -> ImageDescription:
    found = {span.tag: span for span in elements if span.tag >> 16 == 0x0028 and span.length <= 64}

    def value(tag: int) -> bytes:
        return scanner.read(found[tag]) if tag in found else b""

    def number(tag: int, default: int) -> int:
        data = value(tag)
        if len(data) < 2:
            return default
        return int.from_bytes(data[:2], "big" if found[tag].encoding.big else "little")

    frames = value(0x00280008).strip(b" \0")
    allocated = number(0x00280100, 0)
    return ImageDescription(
        rows=number(0x00280010, 0),
        columns=number(0x00280011, 0),
        samples=number(0x00280002, 1),
        bits_allocated=allocated,
        bits_stored=min(number(0x00280101, allocated), allocated),
        signed=number(0x00280103, 0) == 1,
        photometric=value(0x00280004).strip(b" \0").decode("ascii", "replace"),
        planar=int(number(0x00280006, 0) == 1),
        frames=int(frames) if frames.isdigit() and len(frames) < 8 else 1,
        frames_declared=bool(frames),
        pixel_keyword="PixelData",
    )
