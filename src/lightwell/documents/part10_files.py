"""DICOM Part 10 files of a version, built from its originals and frames.

In every transfer syntax the pixels are those that were imported: the stored bytes are compared with their
checksum when they are read (`stores.objects.checked_reads`), and samples with theirs when they are decoded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, BinaryIO

from lightwell.documents import native_forms
from lightwell.documents.originals import open_original
from lightwell.documents.retrieve_syntax import VERIFIED_SYNTAXES
from lightwell.domain.image_sets.frame_table import Frame
from lightwell.errors import InputError, StorageError
from lightwell.imaging.dataset.image_description import ImageDescription, described_image
from lightwell.imaging.dataset.nested_pixels import NativePixels
from lightwell.imaging.dataset.part10 import IMPLICIT_LITTLE, BytesSource, read_file_meta
from lightwell.imaging.dataset.transfer_syntaxes import (
    DEFLATED,
    EXPLICIT_LITTLE,
    JPEG2000_LOSSLESS,
    SYNTAXES,
    is_same_codestream,
)
from lightwell.imaging.instances.writer import (
    END,
    ITEM,
    Part10File,
    PixelValue,
    build_part10,
    encapsulate,
    encapsulated_size,
    pack_bit_frames,
)
from lightwell.imaging.pixels.lossless_encoders import encode, encoded_photometric
from lightwell.imaging.pixels.samples import Samples, from_native, native_bits, to_native
from lightwell.imaging.pixels.stored_frames import (
    coded_photometric,
    decode_verified,
    decoded_photometric,
)
from lightwell.stores import Stores
from lightwell.stores.db.compression import decompress
from lightwell.stores.image_sets import part10_instances
from lightwell.stores.image_sets.part10_instances import FrameTable, StoredImage, StoredInstance
from lightwell.stores.objects import checked_reads
from lightwell.stores.objects.checked_reads import CheckedSpan
from lightwell.stores.objects.pack_objects import pack_name

__all__ = [
    "ORIGINAL",
    "Decoder",
    "NestedDecoder",
    "Part10File",
    "is_kept_as_imported",
    "open_instance",
    "write_instance",
]

ORIGINAL = "original"
_NATIVE = (None, EXPLICIT_LITTLE, IMPLICIT_LITTLE)

Decoder = Callable[[StoredImage, Frame, int | None], tuple[str, bytes]]
"""Decodes one frame: its photometric interpretation, and its bytes as a native frame. Raises `InputError`."""

NestedDecoder = Callable[[StoredInstance], Mapping[int, NativePixels]]
"""Decodes the encapsulated pixel data within sequences of an instance's original, by offsets in it."""


def write_instance(stores: Stores, instance: StoredInstance, out: BinaryIO) -> None:
    """Write one instance as a Part 10 file in the syntax that `open_instance` chooses."""
    out.writelines(open_instance(stores, instance).pieces)


def open_instance(
    stores: Stores,
    instance: StoredInstance,
    target: str | None = None,
    *,
    decode: Decoder | None = None,
    decode_nested: NestedDecoder | None = None,
) -> Part10File:
    """One instance as a Part 10 file, in pieces of at most a megabyte or a frame.

    ``target`` is the transfer syntax of the pixels, one of `transfer_syntaxes.retrievable`, or Implicit VR
    Little Endian, which a data set that came otherwise does not become: it is explicit then. Without a
    target, frames that were transcoded are written native, and those that were stored as imported are
    written unchanged. Pixels that could not be split into frames are always written as they were imported.
    A file without pixels is Explicit VR Little Endian if the target is a compressed syntax. `ORIGINAL` is the
    transfer syntax in which the instance was imported, be it a deflated or a big-endian one. ``decode``
    decodes frames that were stored as imported, since no codec may be trusted with data that others have
    encoded. So does ``decode_nested`` with pixel data within sequences, such as icons, where the file is not
    in their syntax (PS3.5 A.4); what it cannot decode is left out.

    Holds one frame and the data set without pixels in memory. Raises, here or from the pieces, `StorageError`
    where a pack cannot be read, `DamagedError` where a frame is not the imported one, `InputError` where the
    pixels do not fit a file of that syntax.
    """
    original = bytes(open_original(stores.objects, instance.pack, instance.offset, instance.length))
    override = json.loads(decompress(instance.override_z)) if instance.override_z else None
    came_as = read_file_meta(BytesSource(original), 0)[1] if target == ORIGINAL else ""
    pixel = None
    if instance.pixels and target == ORIGINAL:
        pixel = _original_pixels(stores, instance.pixels, decode)
    elif instance.pixels:
        pixel = _pixel_value(stores, instance.pixels, target, decode)
    return build_part10(
        original,
        pixel,
        override,
        instance.edits,
        syntax=came_as or (target if target in _NATIVE else EXPLICIT_LITTLE),
        deflate=came_as == DEFLATED,
        decode_nested=partial(decode_nested, instance) if decode_nested is not None else None,
    )


def _original_pixels(stores: Stores, stored: StoredImage, decode: Decoder | None) -> PixelValue:
    """The pixels in the transfer syntax of their import."""
    if not stored.frame_count:
        return _pixel_value(stores, stored, None, decode)
    image, syntax = described_image(bytes(stored.image))
    native = native_forms.BY_NATIVE_FORM.get(syntax)
    if native is None:
        return _pixel_value(stores, stored, syntax, decode)
    return native_forms.convert(_pixel_value(stores, stored, native, decode), syntax, image)


def _pixel_value(
    stores: Stores, stored: StoredImage, target: str | None, decode: Decoder | None
) -> PixelValue:
    described = json.loads(stored.image)
    original_syntax = described.pop("original_syntax")
    if not stored.frame_count:
        return _unsplit_pixels(stores, stored, described, original_syntax)
    image = ImageDescription(**described)
    # These codecs undo colour transforms and chrominance subsampling; the others have neither.
    undone = SYNTAXES[original_syntax].codec in ("jpeg", "jpegls", "jpeg2000")
    true = replace(image, photometric=decoded_photometric(image)) if undone else image
    if stored.stored_syntax == EXPLICIT_LITTLE:
        native = _checked_frames(stores, stored)
        if target in _NATIVE:
            described_as = true if undone else None
            return _native_pixels(image, target, stored.frame_count, native, native_bits(image), described_as)
        return _encoded_pixels(true, (from_native(frame, true) for frame in native), target)
    came_so = is_kept_as_imported(stored.stored_syntax, original_syntax)
    coded = replace(true, photometric=coded_photometric(true), planar=0)
    kept = stored.stored_syntax if target is None and came_so else target
    if kept is not None and is_same_codestream(stored.stored_syntax, kept):
        return _stored_pixels(stores, stored, kept, image, None if came_so else coded)
    if came_so or stored.stored_syntax not in VERIFIED_SYNTAXES:
        if decode is None:
            raise InputError(f"frames stored under {stored.stored_syntax} cannot be decoded here")
        true, native = _frames_decoded_elsewhere(stores, stored, image, decode)
        if target in _NATIVE:
            return _native_pixels(image, target, stored.frame_count, native, image.frame_bits, true)
        return _encoded_pixels(true, (from_native(frame, true) for frame in native), target)
    samples = _decoded_frames(stores, stored, image)
    if target in _NATIVE:
        native = (to_native(frame, image) for frame in samples)
        return _native_pixels(image, target, stored.frame_count, native, image.frame_bits, true)
    return _encoded_pixels(true, samples, target)


def _unsplit_pixels(
    stores: Stores, stored: StoredImage, described: dict[str, Any], syntax: str
) -> PixelValue:
    """The bytes of a pixel element that could not be split, as they were imported."""
    with stores.db.read() as conn:
        table = part10_instances.read_frame_table(conn, stored.key)
    _, span = next(_checked_spans(table, stored))
    # If the syntax is unknown, or the file violates it, the bytes tell whether they are items.
    items = checked_reads.read_part(stores.objects, span, 0, min(span.length, 4)) == ITEM
    if items and syntax in SYNTAXES and not SYNTAXES[syntax].encapsulated:
        tail = min(span.length, 8)
        items = checked_reads.read_part(stores.objects, span, span.length - tail, tail) == END
    return PixelValue(
        keyword=described.get("pixel_keyword", "PixelData"),
        vr="OB" if items or described.get("bits_allocated", 16) <= 8 else "OW",
        syntax=syntax,
        length=None if items else span.length,
        pieces=checked_reads.pieces(stores.objects, span),
        verbatim=True,
        size=span.length,
    )


def _native_pixels(
    image: ImageDescription,
    target: str | None,
    count: int,
    frames: Iterator[bytes],
    bits: int,
    described: ImageDescription | None = None,
) -> PixelValue:
    """Native frames of ``bits`` bits each.

    The last bits of a frame are padding where they do not fill a byte.
    """
    return PixelValue(
        keyword=image.pixel_keyword,
        vr=_native_vr(image),
        syntax=target or EXPLICIT_LITTLE,
        length=(bits * count + 7) // 8,
        pieces=pack_bit_frames(frames, bits),
        image=described,
    )


def _stored_pixels(
    stores: Stores, stored: StoredImage, syntax: str, image: ImageDescription, coded: ImageDescription | None
) -> PixelValue:
    """Bare codestreams, one per fragment: boxes are not allowed in DICOM (PS3.5 A.4.4)."""
    table = _frame_table(stores, stored)
    spans = _checked_spans(table, stored)
    return PixelValue(
        keyword=image.pixel_keyword,
        vr="OB",
        syntax=syntax,
        length=None,
        pieces=encapsulate(
            (place.length - place.head, checked_reads.pieces(stores.objects, span, place.head))
            for place, span in spans
        ),
        image=coded,
        size=encapsulated_size(place.length - place.head for place in table),
    )


def _encoded_pixels(true: ImageDescription, frames: Iterator[Samples], syntax: str) -> PixelValue:
    """Decoded frames, which ``true`` describes, in a lossless syntax; each is verified when it is encoded."""
    coded = (encode(samples, true.photometric, syntax, true.bits_stored) for samples in frames)
    photometric = encoded_photometric(true.photometric, syntax) if true.samples > 1 else true.photometric
    return PixelValue(
        keyword=true.pixel_keyword,
        vr="OB",
        syntax=syntax,
        length=None,
        pieces=encapsulate((len(frame), [frame]) for frame in coded),
        image=replace(true, photometric=photometric, planar=0),
    )


def _frames_decoded_elsewhere(
    stores: Stores, stored: StoredImage, image: ImageDescription, decode: Decoder
) -> tuple[ImageDescription, Iterator[bytes]]:
    """The native frames and what describes them.

    The first is decoded at once, because it tells the photometric interpretation of all.
    """
    spans = _checked_spans(_frame_table(stores, stored), stored)
    frames = (decode(stored, place, span.checksum) for place, span in spans)
    photometric, first = next(frames)
    native = chain([first], _require_one_color_space(frames, photometric))
    return replace(image, photometric=photometric), native


def _require_one_color_space(frames: Iterator[tuple[str, bytes]], photometric: str) -> Iterator[bytes]:
    """The frames, which must be in one colour space, since a file has one for all."""
    for found, frame in frames:
        if found != photometric:
            raise InputError(f"frames in {photometric} and in {found} cannot be written to one native file")
        yield frame


def _decoded_frames(stores: Stores, stored: StoredImage, image: ImageDescription) -> Iterator[Samples]:
    for place, span in _checked_spans(_frame_table(stores, stored), stored):
        data = b"".join(checked_reads.pieces(stores.objects, span))
        yield decode_verified(data, place.head, stored.stored_syntax, image, place.checksum)


def _native_vr(image: ImageDescription) -> str:
    floats = {"FloatPixelData": "OF", "DoubleFloatPixelData": "OD"}
    return floats.get(image.pixel_keyword, "OW" if image.bits_allocated > 8 else "OB")


def is_kept_as_imported(stored_syntax: str, original_syntax: str) -> bool:
    """Whether frames are stored byte for byte: by their syntax, or JPEG 2000 in a data store of it."""
    if stored_syntax != original_syntax:
        return False
    return SYNTAXES[original_syntax].verbatim or original_syntax == JPEG2000_LOSSLESS


def _checked_frames(stores: Stores, stored: StoredImage) -> Iterator[bytes]:
    for _, span in _checked_spans(_frame_table(stores, stored), stored):
        yield b"".join(checked_reads.pieces(stores.objects, span))


def _frame_table(stores: Stores, stored: StoredImage) -> FrameTable:
    with stores.db.read() as conn:
        table = part10_instances.read_frame_table(conn, stored.key)
    if len(table) != stored.frame_count:
        raise StorageError(
            f"The frame table of an instance has {len(table)} frames, not {stored.frame_count}."
        )
    return table


def _checked_spans(table: FrameTable, stored: StoredImage) -> Iterator[tuple[Frame, CheckedSpan]]:
    """Every frame, and what its stored bytes are compared with when they are read."""
    name = pack_name(stored.pack)
    for place, checks in table.checked():
        if checks is None:
            own = place.checksum if stored.checksum_type == "COMPRESSED" else None
            yield place, CheckedSpan(name, place.offset, place.length, own)
        else:
            yield (
                place,
                CheckedSpan(name, place.offset, place.length, checks.checksum, checks.levels, checks.blocks),
            )
