"""In which transfer syntaxes an export tries to write an instance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from lightwell.documents.part10_files import Decoder, NestedDecoder, Part10File, open_instance
from lightwell.imaging.dataset.transfer_syntaxes import EXPLICIT_LITTLE, SYNTAXES
from lightwell.stores import Stores
from lightwell.stores.image_sets.part10_instances import StoredInstance


class ExportSyntax(StrEnum):
    """What `lightwell export --transfer-syntax` can be given."""

    STORED = "stored"
    """As the frames lie in the store."""
    EXPLICIT = "explicit"
    """Decoded: Explicit VR Little Endian."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to write an instance. ``note`` says what is not as it was asked for, "" for the first way."""

    target: str | None
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
    if wanted is ExportSyntax.STORED:
        yield Attempt(pixels.stored_syntax if pixels else None)
    elif wanted is ExportSyntax.EXPLICIT:
        if pixels and not pixels.frame_count and pixels.stored_syntax != EXPLICIT_LITTLE:
            yield Attempt(
                None, f"{name(pixels.stored_syntax)}, as it came: its frames could not be told apart"
            )
            return
        yield Attempt(EXPLICIT_LITTLE)
        if pixels:
            yield Attempt(
                pixels.stored_syntax, f"{name(pixels.stored_syntax)}, as it is stored: it cannot be decoded"
            )
    else:
        yield Attempt(None)


def name(syntax: str) -> str:
    """The name of a transfer syntax; its UID if it is not known."""
    return SYNTAXES[syntax].name if syntax in SYNTAXES else syntax
