"""Rendered resources and thumbnails: which frame is rendered, and the image that a codec worker makes of it.

Source: PS3.18 §10.4.1.1.3 and §10.4.1.1.4. HealthImaging has neither. For a series, its middle image is
rendered, for a study that of its first series with images: one image, as the lists of viewers need it, where
the standard would also allow a part for each instance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from lightwell import __version__
from lightwell.codec_pool.render_requests import ByteSpan, FrameSpan, NotRendered, Pixels, Render, Rendered
from lightwell.domain.image_sets.edits import encode_edits
from lightwell.domain.image_sets.frame_checks import checksum_at
from lightwell.domain.image_sets.frame_table import PAGE, read_place
from lightwell.domain.rendering import (
    GIF,
    IMAGE_TYPES,
    JPEG,
    MOST_ANIMATED_FRAMES,
    PDF,
    REPORT_TYPES,
    THUMBNAIL_SIDE,
    Rendering,
    RenderingRequest,
    rendered_parameters,
    uri_parameters,
)
from lightwell.errors import (
    InputError,
    InternalError,
    NotAcceptableError,
    NotFoundError,
    UnavailableError,
    ValidationError,
)
from lightwell.imaging.dataset.transfer_syntaxes import SYNTAXES
from lightwell.operations.context import Context
from lightwell.operations.dicomweb import lookup
from lightwell.operations.dicomweb.lookup import DicomwebTarget
from lightwell.stores import Stores
from lightwell.stores.image_sets import native_instances, representative
from lightwell.stores.image_sets.by_series import SeriesSet
from lightwell.stores.image_sets.part10_instances import StoredImage, StoredInstance
from lightwell.stores.objects.pack_objects import pack_name

if TYPE_CHECKING:
    from lightwell.codec_pool.client import CodecPoolClient

__all__ = [
    "GIF",
    "IMAGE_TYPES",
    "PDF",
    "REPORT_TYPES",
    "THUMBNAIL",
    "THUMBNAIL_SIDE",
    "EncodedImage",
    "RenderSource",
    "Rendering",
    "RenderingRequest",
    "find_animation",
    "find_source",
    "render_image",
    "render_thumbnail",
    "rendered_parameters",
    "to_rendering",
    "uri_parameters",
]

THUMBNAIL = JPEG
"""The default media type of thumbnails; these are kept in the cache of documents."""

PDF_STORAGE = "1.2.840.10008.5.1.4.1.1.104.1"
"""Encapsulated PDF Storage."""

_REPORTS = "1.2.840.10008.5.1.4.1.1.88."
"""What the SOP classes of structured reports begin with, Key Object Selection included (PS3.4 B.5)."""

_NOT_RENDERED = "no decoder here can render it, but its frames can be retrieved as they are stored"


@dataclass(frozen=True, slots=True)
class RenderSource:
    """The frame to render. ``number`` counts from 0.

    ``number``, ``pixels`` and ``frame`` are None for an instance without frames. ``video`` is the media type
    of a video, which is sent as it is kept. ``animated`` are all frames of an animation.
    """

    found: SeriesSet
    instance: StoredInstance
    number: int | None
    pixels: Pixels | None
    frame: FrameSpan | None
    video: str | None = None
    animated: tuple[FrameSpan, ...] = ()

    @property
    def offered(self) -> tuple[str, ...]:
        """The media types that it can be rendered in, the default first."""
        if self.video is not None:
            return (self.video,)
        if self.frame is not None:
            return IMAGE_TYPES
        return REPORT_TYPES if is_report(self.instance) else (PDF,)

    def tag(self, asked: Rendering) -> str:
        """An entity tag: the same for the same frame of the same version with the same parameters."""
        found = self.found
        place = (found.id, found.version, found.mark, self.instance.record, self.number, len(self.animated))
        return sha256(repr((__version__, place, asked)).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image or document; ``notes`` say which parameters were not applied."""

    media_type: str
    data: bytes
    notes: tuple[str, ...] = ()


def find_source(ctx: Context, target: DicomwebTarget, *, small: bool = False) -> RenderSource:
    """Find what ``target`` names; of several frames the first or, for a ``small`` image, the middle one.

    PS3.18 §10.4.1.1.4 leaves the choice for thumbnails to the server, and the first frames of volumes are
    mostly empty.

    Raises `ValidationError` for malformed ids, `NotFoundError` where the target does not exist,
    `NotAcceptableError` for a frame that cannot be rendered.
    """
    with ctx.stores.db.read() as conn:
        found, instance = _instance(conn, target)
        lookup.note_sets(ctx, [found])
    stored = instance.pixels
    if stored is None and instance.sop_class_uid != PDF_STORAGE and (small or not is_report(instance)):
        raise NotAcceptableError(
            f"The instance {instance.sop_instance_uid} has neither an image, a report nor a PDF document to "
            "render."
        )
    if stored is None or not stored.frame_count:
        if target.number is not None:
            raise NotFoundError(f"The instance {instance.sop_instance_uid} has no frame {target.number}.")
        if stored is not None:
            raise NotAcceptableError(
                f"The pixel data of instance {instance.sop_instance_uid} could not be split into frames at"
                " import, so it cannot be rendered."
            )
        return RenderSource(found, instance, None, None, None)
    number = (stored.frame_count - 1) // 2 if small else 0
    if target.number is not None:
        number = target.number - 1
    if number >= stored.frame_count:
        raise NotFoundError(
            f"The instance {instance.sop_instance_uid} has no frame {number + 1}; its last frame is "
            f"{stored.frame_count}."
        )
    pixels, span = Pixels(stored.stored_syntax, stored.image), _frame_span(ctx.stores, stored, number)
    syntax = SYNTAXES.get(stored.stored_syntax)
    if syntax is not None and syntax.video and not small and target.number is None:
        kind = "video/mpeg" if syntax.codec == "mpeg2" else "video/mp4"
        return RenderSource(found, instance, None, pixels, span, kind)
    _check_codec(stored)
    return RenderSource(found, instance, number, pixels, span)


def find_animation(stores: Stores, shown: RenderSource) -> RenderSource:
    """``shown`` with all of its frames, if there are several.

    Raises `NotAcceptableError` for more than an animation may have.
    """
    stored = shown.instance.pixels
    if stored is None or stored.frame_count < 2:
        return shown
    if stored.frame_count > MOST_ANIMATED_FRAMES:
        raise NotAcceptableError(
            f"An animation has at most {MOST_ANIMATED_FRAMES} frames, and the instance has "
            f"{stored.frame_count}: request frames one by one."
        )
    frames: list[FrameSpan] = []
    for first in range(0, stored.frame_count, PAGE):
        count = min(PAGE, stored.frame_count - first)
        frames += _frame_spans(stores, stored, first, range(count))
    return replace(shown, number=None, animated=tuple(frames))


def is_report(instance: StoredInstance) -> bool:
    """Whether the instance is a structured report, which has a content tree (PS3.3 A.35)."""
    return instance.pixels is None and (instance.sop_class_uid or "").startswith(_REPORTS)


def render_thumbnail(context: Context, what: RenderSource, asked: Rendering, *, usual: bool) -> EncodedImage:
    """A small image; ``usual``: requested without parameters, so it is cached.

    Raises the errors of `render_image`.
    """
    documents, found = context.stores.documents, what.found
    format = f"thumbnail.{what.instance.record:x}.{what.number}.{__version__.encode().hex()}"
    if usual and (kept := documents.get(found.key, found.version, found.mark, format)) is not None:
        context.stores.accesses.note(found.key, context.clock.now())
        return EncodedImage(THUMBNAIL, kept)
    made = render_image(context, what, asked)
    if usual and not made.notes and made.media_type == THUMBNAIL:
        documents.put(found.key, found.version, found.mark, format, made.data)
    return made


def render_image(context: Context, what: RenderSource, asked: Rendering) -> EncodedImage:
    """Have a codec worker render the image.

    Raises `NotAcceptableError` where it cannot be rendered, `ValidationError` where the parameters do not fit
    the image, `UnavailableError` where a retry may help, `InternalError` where a codec worker failed,
    `DamagedError` where the frame is not the one that was imported.
    """
    instance = what.instance
    order = Render(
        original=ByteSpan(pack_name(instance.pack), instance.offset, instance.length),
        override_z=instance.override_z,
        edits=encode_edits(instance.edits) if instance.edits else None,
        pixels=what.pixels,
        frame=what.frame,
        number=what.number or 0,
        asked=asked,
        animated=list(what.animated),
    )
    context.stores.accesses.note(what.found.key, context.clock.now())
    answer = _ask_pool(context, order)
    if isinstance(answer, NotRendered):
        if answer.bad:
            raise ValidationError(answer.message)
        raise NotAcceptableError(answer.message)
    return EncodedImage(answer.media_type, answer.data, tuple(answer.notes))


def to_rendering(media_type: str, asked: RenderingRequest, *, side: int | None = None) -> Rendering:
    """What `render_image` needs, from the parameters of a request.

    ``side`` bounds width and height where the request bounds neither.
    """
    free = asked.width is None and asked.height is None
    return Rendering(
        media_type,
        asked.window,
        side if free else asked.width,
        side if free else asked.height,
        asked.region,
        asked.quality or 90,
    )


def _instance(conn: Connection, target: DicomwebTarget) -> tuple[SeriesSet, StoredInstance]:
    store, study = target.datastore_id, target.study
    if target.series is None:
        sets = lookup.study_sets(conn, store, study)
        if target.image_set_id is not None:
            sets = [each for each in sets if each.id == target.image_set_id]
        if not sets:
            raise NotFoundError(f"No primary image set of study {study} has the id {target.image_set_id}.")
    else:
        sets = [lookup.series_set(conn, store, study, target.series, target.image_set_id)]
    if target.instance is not None:
        return sets[0], lookup.instance_of(conn, sets[0], target.instance)
    for each in sets:
        uid = representative.middle_image(conn, each.key, each.version)
        if uid is not None:
            return each, lookup.instance_of(conn, each, uid)
    uid = representative.first_member(conn, sets[0].key, sets[0].version)
    if uid is None:
        raise NotFoundError(f"Image set {sets[0].id} has no instances.")
    return sets[0], lookup.instance_of(conn, sets[0], uid)


def _check_codec(stored: StoredImage) -> None:
    """Refuse without asking a worker: frames of videos and JPEG XL are stored, but not decoded."""
    syntax = SYNTAXES.get(stored.stored_syntax)
    if syntax is None or syntax.video or syntax.codec == "jpegxl":
        name = syntax.name if syntax else stored.stored_syntax
        raise NotAcceptableError(f"The pixel data is stored as {name}: {_NOT_RENDERED}.")


def _frame_span(stores: Stores, stored: StoredImage, number: int) -> FrameSpan:
    return _frame_spans(stores, stored, number - number % PAGE, (number % PAGE,))[0]


def _frame_spans(stores: Stores, stored: StoredImage, page: int, places: Iterable[int]) -> list[FrameSpan]:
    """Frames of the page of the frame table that begins with the frame ``page``."""
    row = stores.db.look_up(native_instances.FRAME_LOCATION_LOOK_UP, (stored.key, page))
    spans = []
    for index in places:
        entry = read_place(bytes(row[3]), index) if row is not None else None
        if row is None or entry is None:
            raise InternalError("The frame table has no entry for the frame; run `lightwell data verify`.")
        spans.append(
            FrameSpan(pack_name(row[0]), *entry, None if row[4] is None else checksum_at(row[4], index))
        )
    return spans


def _ask_pool(context: Context, order: Render) -> Rendered | NotRendered:
    pool: CodecPoolClient | None = context.pool
    if pool is None:
        raise UnavailableError("Images cannot be rendered: this process has no codec workers.")
    try:
        answer = pool.ask(order, float(context.settings.render_timeout), context.caller.arn)
    except InputError as error:
        raise NotAcceptableError(f"The instance cannot be rendered: {error}") from error
    if not isinstance(answer, Rendered | NotRendered):
        raise InternalError("A codec worker returned an unexpected type of answer.")
    return answer
