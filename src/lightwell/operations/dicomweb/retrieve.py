"""Instances of a study, a series or one alone as DICOM files, apart from HTTP.

Source: AWS's dicomweb-retrieve-instance page; PS3.18 §10.4 for studies and series, which HealthImaging does
not have.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lightwell.codec_pool.render_requests import Decode, Decoded, FrameSpan, Pixels
from lightwell.documents.part10_files import open_instance
from lightwell.documents.retrieve_syntax import ANY, syntax_for, unsplit_syntax
from lightwell.domain.image_sets.edits import encode
from lightwell.domain.image_sets.frame_table import Frame
from lightwell.errors import InputError, InternalError, NotAcceptableError, NotFoundError
from lightwell.imaging.dataset.transfer_syntaxes import EXPLICIT_LITTLE
from lightwell.imaging.instances.writer import Part10File
from lightwell.operations.context import Context
from lightwell.operations.dicomweb import lookup
from lightwell.operations.dicomweb.lookup import DicomwebTarget
from lightwell.stores import Stores
from lightwell.stores.image_sets import part10_instances
from lightwell.stores.image_sets.by_series import SeriesSet
from lightwell.stores.image_sets.part10_instances import StoredImage, StoredInstance
from lightwell.stores.objects.packs import pack_name


@dataclass(frozen=True, slots=True)
class Found:
    """One instance, and the set that it was found in."""

    set: SeriesSet
    instance: StoredInstance


@dataclass(frozen=True, slots=True)
class Sent:
    """One instance in the transfer syntax in which it is to be sent."""

    found: Found
    syntax: str

    @property
    def etag(self) -> str:
        """The same for the same bytes."""
        instance = self.found.instance
        pixels = instance.pixels.key if instance.pixels else 0
        edits = zlib.crc32(encode(instance.edits)) if instance.edits else 0
        return f'"{instance.record:x}-{pixels:x}-{edits:x}-{self.syntax.rpartition(".")[2]}"'


def find(stores: Stores, target: DicomwebTarget) -> list[Found]:
    """What is there, series by SeriesNumber and instances by InstanceNumber.

    Raises `NotFoundError` where there is nothing, `ValidationError` for ids that are none.
    """
    ids = (target.datastore_id, target.study)
    with stores.db.read() as conn:
        if target.series is None:
            sets = lookup.study_sets(conn, *ids)
            if target.image_set_id is not None:
                sets = [each for each in sets if each.id == target.image_set_id]
            if not sets:
                raise NotFoundError(f"Image set {target.image_set_id} does not hold study {target.study}.")
        else:
            sets = [lookup.series_set(conn, *ids, target.series, target.image_set_id)]
        if target.instance is not None:
            return [Found(each, lookup.instance_of(conn, each, target.instance)) for each in sets]
        return [
            Found(each, instance)
            for each in sets
            for instance in part10_instances.instances(conn, each.key, each.version)
        ]


def chosen(found: Sequence[Found], wanted: str | None, *, alone: bool) -> list[Sent]:
    """Those that can be sent under the transfer syntax ``wanted`` (None for no wish), each with its own.

    Of several, ``alone`` being false, those without pixels are sent in any case, and without a wish nothing
    is left out.
    """
    made = []
    for each in found:
        syntax = _syntax(each.instance, wanted, alone=alone)
        if syntax is not None:
            made.append(Sent(each, syntax))
    return made


def _syntax(instance: StoredInstance, wanted: str | None, *, alone: bool) -> str | None:
    pixels = instance.pixels
    if pixels is None:
        return EXPLICIT_LITTLE if not alone or wanted in (None, ANY, EXPLICIT_LITTLE) else None
    if not pixels.frame_count:
        # What could not be split into frames is given as it came to who asks for that, and without a wish
        # where it came in the syntax that no wish stands for: AWS's warnings B110 to B112 say to get it so.
        came = unsplit_syntax(pixels.stored_syntax)
        as_it_came = wanted in (ANY, came) or (wanted is None and (not alone or came == EXPLICIT_LITTLE))
        return came if as_it_came else None
    return syntax_for(pixels.stored_syntax, wanted, decodes=True)


def opened(ctx: Context, sent: Sent) -> Part10File:
    """The file, whose frames are read as it is iterated.

    Raises, here or from the pieces, `NotAcceptableError` where the pixels cannot be written so,
    `StorageError` where they are lost.
    """
    instance = sent.found.instance
    ctx.stores.accesses.note(sent.found.set.key, ctx.clock.now())
    try:
        file = open_instance(
            ctx.stores, instance, sent.syntax, decode=lambda stored, place: decoded(ctx, stored, place)
        )
    except InputError as error:
        raise _refused(sent, error) from error
    return replace(file, pieces=_pieces(sent, file))


def _pieces(sent: Sent, file: Part10File) -> Iterator[bytes]:
    try:
        yield from file.pieces
    except InputError as error:
        raise _refused(sent, error) from error


def _refused(sent: Sent, error: InputError) -> NotAcceptableError:
    uid = sent.found.instance.sop_instance_uid
    return NotAcceptableError(
        f"Instance {uid} cannot be had in the transfer syntax {sent.syntax}: {error}. "
        "Ask for transfer-syntax=* to get it as it is stored."
    )


def decoded(ctx: Context, stored: StoredImage, place: Frame) -> tuple[str, bytes]:
    """A frame that was kept as it came, native, and its photometric interpretation; by a codec worker.

    Raises `InputError` where it cannot be decoded, and what `Pool.ask` raises.
    """
    if ctx.pool is None:
        raise InputError("there are no codec workers here")
    span = FrameSpan(pack_name(stored.pack), place.offset, place.length, place.head, place.checksum)
    answer = ctx.pool.ask(
        Decode(Pixels(stored.stored_syntax, bytes(stored.image)), [span]), ctx.settings.file_timeout
    )
    if not isinstance(answer, Decoded):
        raise InternalError("A codec worker gave an answer to another question.")
    return answer.photometric, answer.frames[0]
