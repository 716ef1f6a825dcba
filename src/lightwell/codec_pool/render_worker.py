"""Rendered images and decoded frames, as a codec worker makes them for `codec_pool.render_requests`."""

from __future__ import annotations

import json
from collections.abc import Callable

from lightwell.codec_pool.render_requests import (
    Decode,
    Decoded,
    DecodeNested,
    FrameSpan,
    NestedDecoded,
    NestedPixels,
    NotRendered,
    Pixels,
    Render,
    Rendered,
)
from lightwell.domain.image_sets.edits import NO_EDITS, decode_edits
from lightwell.domain.rendering import REPORT_TYPES
from lightwell.errors import DamagedError, InputError
from lightwell.imaging.dataset.image_description import ImageDescription, described_image
from lightwell.imaging.dataset.original_container import Original, read_original
from lightwell.imaging.dataset.part10 import stored_part10
from lightwell.imaging.dataset.transfer_syntaxes import SYNTAXES
from lightwell.imaging.errors import PixelFailure, RenderFailure
from lightwell.imaging.instances.nested_pixels import decode_nested
from lightwell.imaging.instances.version_dataset import (
    encapsulated_document,
    pydicom_errors,
    version_dataset,
)
from lightwell.imaging.pixels.samples import Samples, to_native
from lightwell.imaging.pixels.stored_frames import decode_verified, decoded_photometric
from lightwell.imaging.rendering.colour import header_photometric, in_described_colours
from lightwell.imaging.rendering.render import animate, render
from lightwell.imaging.reports.report_text import render_report
from lightwell.stores.db.compression import decompress
from lightwell.stores.objects import checked_reads

ReadObject = Callable[[str, int, int], bytes]
"""``read(object, offset, length)``, as `stores.objects.interface` has it."""


def view(read: ReadObject, request: Render) -> Rendered | NotRendered:
    """Carry out `Render`. Raises `StorageError`."""
    try:
        return _view(read, request)
    except RenderFailure as error:
        return NotRendered(error.bad, str(error))
    except PixelFailure as error:
        return NotRendered(False, f"The frame cannot be decoded: {error}")
    except InputError as error:
        return NotRendered(False, f"The instance cannot be rendered: {error}")


def _view(read: ReadObject, request: Render) -> Rendered:
    place = request.original
    original = read_original(lambda o, n: read(place.object, o, n), place.offset, place.length)
    override = json.loads(decompress(request.override_z)) if request.override_z else None
    edits = decode_edits(request.edits) if request.edits else NO_EDITS
    with pydicom_errors():
        attributes = version_dataset(original, override, edits)
        if request.asked.media_type in REPORT_TYPES:
            return Rendered(request.asked.media_type, render_report(attributes, request.asked.media_type), [])
        if request.pixels is None or request.frame is None:
            found = encapsulated_document(attributes)
            if found is None:
                raise RenderFailure(
                    "The instance has neither an image, a report nor a PDF document that could be rendered."
                )
            return Rendered(*found, [])
        image = described_image(request.pixels.image)[0]
        if request.animated:
            frames = (_samples(read, request.pixels, image, span) for span in request.animated)
            picture = animate(frames, image, attributes, request.asked)
            return Rendered(request.asked.media_type, picture.data, list(picture.notes))
        samples, photometric = _samples(read, request.pixels, image, request.frame)
        picture = render(samples, image, photometric, attributes, request.number, request.asked)
    return Rendered(request.asked.media_type, picture.data, list(picture.notes))


def decoded(read: ReadObject, request: Decode) -> Decoded:
    """Carry out `Decode`. Raises `PixelFailure` and `StorageError`."""
    image = described_image(request.pixels.image)[0]
    photometric, frames = decoded_photometric(image), []
    syntax = SYNTAXES.get(request.pixels.stored_syntax)
    converts = request.described and syntax is not None and syntax.codec == "jpeg"
    for span in request.frames:
        samples, photometric = _samples(read, request.pixels, image, span)
        if converts:
            samples, photometric = in_described_colours(samples, image, photometric)
        frames.append(to_native(samples, image))
    return Decoded(photometric, frames)


def nested_decoded(read: ReadObject, request: DecodeNested) -> NestedDecoded:
    """Carry out `DecodeNested`. Raises `InputError` and `StorageError`."""
    place = request.original
    original = Original(lambda o, n: read(place.object, o, n), place.offset, place.length)
    found = decode_nested(stored_part10(original, original.meta_length))
    return NestedDecoded(
        [NestedPixels(at, each.value, each.vr, each.photometric, each.planar) for at, each in found]
    )


def _samples(
    read: ReadObject, pixels: Pixels, image: ImageDescription, span: FrameSpan
) -> tuple[Samples, str]:
    """The samples of a frame and the photometric interpretation that is true of them."""
    data = read(span.object, span.offset, span.length)
    if len(data) == span.length and not checked_reads.matches(data, span.stored):
        raise checked_reads.damaged(span.object, span.offset, span.length)
    if len(data) != span.length:
        raise DamagedError(f"{span.object} is shorter than its frames; run `lightwell data verify`.")
    samples = decode_verified(data, span.head, pixels.stored_syntax, image, span.checksum)
    photometric = decoded_photometric(image)
    syntax = SYNTAXES.get(pixels.stored_syntax)
    if syntax is not None and image.samples == 3:
        photometric = header_photometric(data, syntax.codec, photometric)
    return samples, photometric
