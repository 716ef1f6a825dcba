"""The instances of a study or a series, or a single one, as DICOM files, without the HTTP part.

Source: AWS's dicomweb-retrieve-instance page; PS3.18 §10.4 for studies and series, which HealthImaging does
not offer.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from lightwell import __version__
from lightwell.codec_pool.render_requests import (
    ByteSpan,
    Decode,
    Decoded,
    DecodeNested,
    FrameSpan,
    NestedDecoded,
    Pixels,
)
from lightwell.codec_pool.requests import PoolReply, PoolRequest
from lightwell.documents.part10_files import open_instance
from lightwell.documents.retrieve_syntax import ANY_SYNTAX, syntax_for, unsplit_syntax
from lightwell.domain.image_sets.edits import encode_edits
from lightwell.domain.image_sets.frame_table import Frame
from lightwell.errors import InputError, InternalError, NotAcceptableError, NotFoundError
from lightwell.imaging.dataset.image_description import ImageDescription, described_image
from lightwell.imaging.dataset.nested_pixels import NativePixels
from lightwell.imaging.dataset.transfer_syntaxes import EXPLICIT_LITTLE, is_same_codestream
from lightwell.imaging.instances.writer import Part10File, fits_native_element
from lightwell.operations.context import Context
from lightwell.operations.dicomweb import lookup
from lightwell.operations.dicomweb.lookup import DicomwebTarget
from lightwell.stores.image_sets import part10_instances
from lightwell.stores.image_sets.by_series import SeriesSet
from lightwell.stores.image_sets.part10_instances import StoredImage, StoredInstance
from lightwell.stores.objects.pack_objects import pack_name


@dataclass(frozen=True, slots=True)
class FoundInstance:
    """An instance, and the set that it was found in."""

    set: SeriesSet
    instance: StoredInstance

    @property
    def image(self) -> ImageDescription | None:
        """What describes its frames, None without any."""
        pixels = self.instance.pixels
        return described_image(pixels.image)[0] if pixels is not None and pixels.frame_count else None


@dataclass(frozen=True, slots=True)
class RetrievedInstance:
    """An instance, and the transfer syntax in which it is to be sent."""

    found: FoundInstance
    syntax: str

    @property
    def etag(self) -> str:
        """The same for the same bytes; weak if they are encoded, since the next encoder may choose others.

        Another release may write the same instance otherwise, and a download must not be continued with that.
        """
        instance = self.found.instance
        pixels = instance.pixels.key if instance.pixels else 0
        edits = zlib.crc32(encode_edits(instance.edits)) if instance.edits else 0
        writer = zlib.crc32(__version__.encode())
        tag = f'"{instance.record:x}-{pixels:x}-{edits:x}-{writer:x}-{self.syntax.rpartition(".")[2]}"'
        return f"W/{tag}" if self.is_encoded else tag

    @property
    def is_encoded(self) -> bool:
        """Whether its frames are encoded for it, one by one as the file is sent."""
        pixels = self.found.instance.pixels
        return self.syntax != EXPLICIT_LITTLE and (
            pixels is None or not is_same_codestream(pixels.stored_syntax, self.syntax)
        )


def find_instances(ctx: Context, target: DicomwebTarget) -> list[FoundInstance]:
    """The instances of the target, series by SeriesNumber and instances by InstanceNumber.

    Raises `NotFoundError` where the target does not exist, `ValidationError` for malformed ids.
    """
    ids = (target.datastore_id, target.study)
    with ctx.stores.db.read() as conn:
        if target.series is None:
            sets = lookup.study_sets(conn, *ids)
            if target.image_set_id is not None:
                sets = [each for each in sets if each.id == target.image_set_id]
            if not sets:
                raise NotFoundError(f"Image set {target.image_set_id} does not hold study {target.study}.")
        else:
            sets = [lookup.series_set(conn, *ids, target.series, target.image_set_id)]
        lookup.note_sets(ctx, sets)
        if target.instance is not None:
            return [FoundInstance(each, lookup.instance_of(conn, each, target.instance)) for each in sets]
        return [
            FoundInstance(each, instance)
            for each in sets
            for instance in part10_instances.instances(conn, each.key, each.version)
        ]


def select_instances(
    found: Sequence[FoundInstance], wanted: str | None, *, alone: bool
) -> list[RetrievedInstance]:
    """The instances that can be sent in the transfer syntax ``wanted`` (None: no preference), each with its
    own.

    Of several instances, where ``alone`` is False, those without pixels are always sent, and without a
    preference none is left out.
    """
    made = []
    for each in found:
        syntax = _syntax_of(each, wanted, alone=alone)
        if syntax is not None:
            made.append(RetrievedInstance(each, syntax))
    return made


def _syntax_of(found: FoundInstance, wanted: str | None, *, alone: bool) -> str | None:
    pixels = found.instance.pixels
    if pixels is None:
        return EXPLICIT_LITTLE if not alone or wanted in (None, ANY_SYNTAX, EXPLICIT_LITTLE) else None
    if not pixels.frame_count:
        # Pixels that could not be split into frames are sent as they were imported unless the client asks for
        # something else: what a server cannot convert it sends as it has it (PS3.18 §8.7.3).
        imported_syntax = unsplit_syntax(pixels.stored_syntax)
        return imported_syntax if wanted in (None, ANY_SYNTAX, imported_syntax) else None
    if wanted in (ANY_SYNTAX, pixels.stored_syntax):
        return pixels.stored_syntax
    image = found.image
    syntax = syntax_for(pixels.stored_syntax, wanted, image)
    if syntax == EXPLICIT_LITTLE and image is not None and not fits_native_element(image):
        # A server that has a lossless form only may send that (PS3.18 §8.7.3).
        return pixels.stored_syntax if wanted is None else None
    return syntax


def open_file(ctx: Context, sent: RetrievedInstance) -> Part10File:
    """The file; its frames are read while its pieces are iterated.

    Raises, here or from the pieces, `NotAcceptableError` where the pixels cannot be written in the transfer
    syntax, `StorageError` where they are lost.
    """
    instance = sent.found.instance
    ctx.stores.accesses.note(sent.found.set.key, ctx.clock.now())
    try:
        file = open_instance(
            ctx.stores,
            instance,
            sent.syntax,
            decode=partial(decode_frame, ctx),
            decode_nested=partial(decode_nested, partial(_ask, ctx)),
        )
    except InputError as error:
        raise _not_available_as(sent, error) from error
    return replace(file, pieces=_file_pieces(sent, file))


def _file_pieces(sent: RetrievedInstance, file: Part10File) -> Iterator[bytes]:
    try:
        yield from file.pieces
    except InputError as error:
        raise _not_available_as(sent, error) from error


def _not_available_as(sent: RetrievedInstance, error: InputError) -> NotAcceptableError:
    uid = sent.found.instance.sop_instance_uid
    return NotAcceptableError(
        f"Instance {uid} is not available in the transfer syntax {sent.syntax}: {error}. "
        "Request transfer-syntax=* to get it as it is stored."
    )


def decode_frame(ctx: Context, stored: StoredImage, place: Frame, crc: int | None) -> tuple[str, bytes]:
    """Photometric interpretation and native bytes of a frame that is stored as it was imported.

    A codec worker decodes it. Raises `InputError` where it cannot be decoded, and what `CodecPoolClient.ask`
    raises.
    """
    span = FrameSpan(pack_name(stored.pack), place.offset, place.length, place.head, place.checksum, crc)
    answer = _ask(ctx, Decode(Pixels(stored.stored_syntax, bytes(stored.image)), [span]))
    if not isinstance(answer, Decoded):
        raise InternalError("A codec worker returned an unexpected type of answer.")
    return answer.photometric, answer.frames[0]


def decode_nested(
    ask: Callable[[DecodeNested], PoolReply], instance: StoredInstance
) -> dict[int, NativePixels]:
    """What a codec worker decodes of the pixel data within the sequences of an original, by offsets in it.

    ``ask`` has a worker carry out the request, and raises what `CodecPoolClient.ask` raises.
    """
    answer = ask(DecodeNested(ByteSpan(pack_name(instance.pack), instance.offset, instance.length)))
    if not isinstance(answer, NestedDecoded):
        raise InternalError("A codec worker returned an unexpected type of answer.")
    return {
        each.offset: NativePixels(each.value, each.vr, each.photometric, each.planar)
        for each in answer.pixels
    }


def _ask(ctx: Context, request: PoolRequest) -> PoolReply:
    if ctx.pool is None:
        raise InputError("this process has no codec workers")
    return ctx.pool.ask(request, ctx.settings.render_timeout, ctx.caller.arn)
