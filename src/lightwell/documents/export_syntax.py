"""In which transfer syntaxes an export tries to write an instance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from lightwell.documents.native_forms import BY_NATIVE_FORM
from lightwell.documents.part10_files import (
    ORIGINAL,
    Decoder,
    NestedDecoder,
    Part10File,
    is_kept_as_imported,
    open_instance,
)
from lightwell.imaging.dataset.image_description import described_image
from lightwell.imaging.dataset.transfer_syntaxes import (
    EXPLICIT_LITTLE,
    SYNTAXES,
    retrievable,
)
from lightwell.stores import Stores
from lightwell.stores.image_sets.part10_instances import StoredImage, StoredInstance


class ExportSyntax(StrEnum):
    """What `lightwell export --transfer-syntax` can be given."""

    ORIGINAL = "original"
    """That in which each instance was imported, and its very codestreams where they were kept."""
    STORED = "stored"
    """As the frames lie in the store."""
    EXPLICIT = "explicit"
    """Decoded: Explicit VR Little Endian."""


class Frames(StrEnum):
    """What the frames of an exported file are, told where the original ones were asked for."""

    NONE = "no pixel data"
    KEPT = "the codestreams that came"
    ENCODED = "encoded again, the same samples"
    NATIVE = "not compressed"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to write an instance. ``note`` says what is not as it was asked for, "" for the first way."""

    target: str | None
    frames: Frames
    note: str = ""

    def open(
        self,
        stores: Stores,
        instance: StoredInstance,
        decode: Decoder,
        decode_nested: NestedDecoder | None = None,
    ) -> Part10File:
        """Raises, as do the pieces of the file, what `open_instance` raises."""
        return open_instance(stores, instance, self.target, decode=decode, decode_nested=decode_nested)


def attempts(instance: StoredInstance, wanted: ExportSyntax | None) -> Iterator[Attempt]:
    """The ways to write an instance, to be tried one after the other while they raise `InputError`."""
    pixels = instance.pixels
    if wanted is ExportSyntax.ORIGINAL:
        yield from _original(pixels)
    elif pixels is None:
        yield Attempt(EXPLICIT_LITTLE if wanted is ExportSyntax.EXPLICIT else None, Frames.NONE)
    elif not pixels.frame_count:
        is_asked_for = wanted is not ExportSyntax.EXPLICIT or pixels.stored_syntax in BY_NATIVE_FORM
        came = f"{name(pixels.stored_syntax)}, as it came: frames cannot be told apart"
        yield Attempt(None, Frames.KEPT, "" if is_asked_for else came)
    elif wanted is ExportSyntax.EXPLICIT:
        yield Attempt(EXPLICIT_LITTLE, Frames.NATIVE)
        yield _as_stored(pixels, "it cannot be decoded")
    else:
        yield Attempt(pixels.stored_syntax if wanted is ExportSyntax.STORED else None, Frames.KEPT)


def _original(pixels: StoredImage | None) -> Iterator[Attempt]:
    if pixels is None or not pixels.frame_count:
        yield Attempt(ORIGINAL, Frames.NONE if pixels is None else Frames.KEPT)
        return
    image, syntax = described_image(bytes(pixels.image))
    if is_kept_as_imported(pixels.stored_syntax, syntax):
        yield Attempt(ORIGINAL, Frames.KEPT)
    elif syntax in BY_NATIVE_FORM:
        yield Attempt(ORIGINAL, Frames.NATIVE)
    elif syntax in retrievable(pixels.stored_syntax, image):
        yield Attempt(ORIGINAL, Frames.ENCODED)
    reason = f"{name(syntax)} cannot be written without loss, or not with such pixels"
    yield Attempt(EXPLICIT_LITTLE, Frames.NATIVE, f"{name(EXPLICIT_LITTLE)}: {reason}")
    yield _as_stored(pixels, reason)


def _as_stored(pixels: StoredImage, reason: str) -> Attempt:
    return Attempt(
        pixels.stored_syntax, Frames.KEPT, f"{name(pixels.stored_syntax)}, as it is stored: {reason}"
    )


def name(syntax: str) -> str:
    """The name of a transfer syntax; its UID if it is not known."""
    return SYNTAXES[syntax].name if syntax in SYNTAXES else syntax
