"""DICOM Part 10 files out again, from the originals and the frames of a version.

Frames that were transcoded come out as native Explicit VR Little Endian, frames that were kept as they came:
in both cases the pixels are those that were imported.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO

from lightwell.domain.frames import Frame
from lightwell.errors import StorageError
from lightwell.imaging.image import ImageDescription
from lightwell.imaging.original import read_original
from lightwell.imaging.rebuild import END, ITEM, PixelValue, encapsulated, joined_bits, write_part10
from lightwell.imaging.samples import native_bits, to_native
from lightwell.imaging.stored import decode_stored, decoded_photometric
from lightwell.imaging.syntaxes import EXPLICIT_LITTLE, JPEG2000_LOSSLESS, SYNTAXES
from lightwell.stores import Stores, originals
from lightwell.stores.originals import StoredImage, StoredInstance
from lightwell.stores.packs import pack_name
from lightwell.stores.records import decompress

_PIECE = 1 << 20


def write_instance(stores: Stores, instance: StoredInstance, out: BinaryIO) -> None:
    """Write one instance as a Part 10 file.

    Holds one frame and the data set without pixels in memory. Raises `StorageError` where a pack is damaged,
    `InputError` where the pixels are too many for a native file.
    """
    original = read_original(
        lambda offset, length: stores.objects.read(pack_name(instance.pack), offset, length),
        instance.offset,
        instance.length,
    )
    override = json.loads(decompress(instance.override_z)) if instance.override_z else None
    pixel = _pixel_value(stores, instance.pixels) if instance.pixels else None
    write_part10(out, original, pixel, override, instance.edits)


def _pixel_value(stores: Stores, stored: StoredImage) -> PixelValue:
    described = json.loads(stored.image)
    original_syntax = described.pop("original_syntax")
    if not stored.frame_count:
        return _blob(stores, stored, described, original_syntax)
    image = ImageDescription(**described)
    if stored.stored_syntax == EXPLICIT_LITTLE:
        return _native(stores, stored, image)
    if _came_so(stored.stored_syntax, original_syntax):
        return PixelValue(
            keyword=image.pixel_keyword,
            vr="OB",
            syntax=original_syntax,
            length=None,
            pieces=encapsulated(
                (place.length, _pieces(stores, stored.pack, place)) for place in _places(stores, stored)
            ),
        )
    return _decoded(stores, stored, image, original_syntax)


def _blob(stores: Stores, stored: StoredImage, described: dict[str, Any], syntax: str) -> PixelValue:
    """The bytes of a pixel element that could not be split, as they came."""
    with stores.db.read() as conn:
        span = next(originals.frames(conn, stored.key))
    # Under a syntax that is not known, or is not kept to, the bytes tell whether they are items.
    items = b"".join(_pieces(stores, stored.pack, replace(span, length=min(span.length, 4)))) == ITEM
    if items and syntax in SYNTAXES and not SYNTAXES[syntax].encapsulated:
        tail = replace(span, offset=span.offset + span.length - 8, length=8) if span.length >= 8 else span
        items = b"".join(_pieces(stores, stored.pack, tail)) == END
    return PixelValue(
        keyword=described.get("pixel_keyword", "PixelData"),
        vr="OB" if items or described.get("bits_allocated", 16) <= 8 else "OW",
        syntax=syntax,
        length=None if items else span.length,
        pieces=_pieces(stores, stored.pack, span),
        whole=True,
    )


def _native(stores: Stores, stored: StoredImage, image: ImageDescription) -> PixelValue:
    bits = native_bits(image)
    return PixelValue(
        keyword=image.pixel_keyword,
        vr=_native_vr(image),
        syntax=EXPLICIT_LITTLE,
        length=(bits * stored.frame_count + 7) // 8,
        pieces=joined_bits(_frames(stores, stored), bits),
    )


def _decoded(
    stores: Stores, stored: StoredImage, image: ImageDescription, original_syntax: str
) -> PixelValue:
    # The codecs of these undo colour transforms and halved chrominance, the others have none.
    undone = SYNTAXES[original_syntax].codec in ("jpeg", "jpegls", "jpeg2000")

    def frames() -> Iterator[bytes]:
        for place in _places(stores, stored):
            data = b"".join(_pieces(stores, stored.pack, place))
            yield to_native(decode_stored(data, place.head, stored.stored_syntax, image), image)

    return PixelValue(
        keyword=image.pixel_keyword,
        vr=_native_vr(image),
        syntax=EXPLICIT_LITTLE,
        length=image.frame_bytes * stored.frame_count,
        pieces=frames(),
        image=replace(image, photometric=decoded_photometric(image)) if undone else image,
    )


def _native_vr(image: ImageDescription) -> str:
    floats = {"FloatPixelData": "OF", "DoubleFloatPixelData": "OD"}
    return floats.get(image.pixel_keyword, "OW" if image.bits_allocated > 8 else "OB")


def _came_so(stored_syntax: str, original_syntax: str) -> bool:
    """Whether frames were kept byte for byte: by their syntax, or JPEG 2000 in a store of JPEG 2000."""
    if stored_syntax != original_syntax:
        return False
    return SYNTAXES[original_syntax].keep or original_syntax == JPEG2000_LOSSLESS


def _frames(stores: Stores, stored: StoredImage) -> Iterator[bytes]:
    for place in _places(stores, stored):
        yield b"".join(_pieces(stores, stored.pack, place))


def _places(stores: Stores, stored: StoredImage) -> list[Frame]:
    with stores.db.read() as conn:
        places = list(originals.frames(conn, stored.key))
    if len(places) != stored.frame_count:
        raise StorageError(
            f"The frame table of an instance has {len(places)} frames, not {stored.frame_count}."
        )
    return places


def _pieces(stores: Stores, pack: int, place: Frame) -> Iterator[bytes]:
    for start in range(0, place.length, _PIECE):
        yield stores.objects.read(pack_name(pack), place.offset + start, min(_PIECE, place.length - start))
