"""Frames of an instance that is named by its UIDs, without the HTTP part: where they are stored, and their
bytes.

The available transfer syntaxes follow AWS's dicomweb-retrieve-instance-frames page and PS3.18 §8.7.3. Every
request looks up which pixels the instance has in the readable version of its set, so nothing of a deleted set
is served. The location of a frame never changes and is cached, see `operations.get_image_frame`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from cachetools import LRUCache

from lightwell.codec_pool.render_requests import Decode, Decoded, FrameSpan, Pixels
from lightwell.documents.retrieve_syntax import VERIFIED_SYNTAXES
from lightwell.domain.image_sets.frame_table import PAGE, read_place
from lightwell.domain.keys import ImageSetKey, PixelsKey
from lightwell.errors import (
    DamagedError,
    InputError,
    InternalError,
    NotAcceptableError,
    NotFoundError,
)
from lightwell.imaging.dataset.image_description import ImageDescription, described_image
from lightwell.imaging.dataset.transfer_syntaxes import EXPLICIT_LITTLE, JPEG2000_LOSSLESS, is_same_codestream
from lightwell.operations.context import Context
from lightwell.operations.dicomweb import lookup
from lightwell.operations.get_image_frame import MOST_PLACES, FrameLocation, FramePage, FrameReader
from lightwell.stores.db.errors import misplaced
from lightwell.stores.db.look_up import LookUp
from lightwell.stores.image_sets import by_series, native_instances

_DESCRIPTIONS = 4096


class InstancePixels(NamedTuple):
    """The pixels of an instance. ``image_set`` and ``key`` are keys of rows.

    Of pixels that were found by UIDs, ``image_set_id`` is the id of their set, and ``patient_id`` the
    PatientID of its readable version.
    """

    image_set: ImageSetKey
    key: PixelsKey
    stored_syntax: str
    frame_count: int
    image_set_id: str = ""
    patient_id: str | None = None


class _Format(NamedTuple):
    """What pixels are. ``datastore`` is the key of the data store that has them."""

    stored_syntax: str
    frame_count: int
    datastore: int


class BareFrame(NamedTuple):
    """Where the bare codestream of one frame is stored, and its checksum; see
    `domain.image_sets.frame_table.Frame`."""

    place: FrameLocation
    checksum: int


class InstanceFrames:
    """Finds frames by UIDs; one per process. Calls that read the database wait for it."""

    def __init__(self, reader: FrameReader) -> None:
        self.reader = reader
        self.may_wait = reader.may_wait
        self._stores = reader.stores
        self._descriptions: LRUCache[int, tuple[ImageDescription, str]] = LRUCache(_DESCRIPTIONS)
        self._lock = threading.Lock()
        # Of pixels, and where their frames are, by the frame's number and for the set through which it was
        # requested last: neither changes.
        self._formats: dict[PixelsKey, _Format] = {}
        self._frames: dict[tuple[PixelsKey, int], BareFrame] = {}

    def find(
        self, datastore_id: str, study: str, series: str, instance: str, image_set_id: str | None = None
    ) -> InstancePixels:
        """The pixels of an instance.

        Raises `NotFoundError` where the instance does not exist or has no pixels; `ValidationError` for
        malformed ids; `NotAcceptableError` where its pixels could not be split into frames at import.
        """
        statement, named = _pixels_look_up(datastore_id, study, series, instance, image_set_id)
        row = None
        if "\0" not in study + series + instance:
            row = self._stores.db.look_up(statement, named)
        if row is None:
            return self._missing(datastore_id, study, series, instance, image_set_id)
        image_set, pixels, id, patient, store = row
        if pixels is None:
            raise NotFoundError(f"Instance {instance} has no pixel data.")
        if pixels == by_series.ANOTHERS:
            raise misplaced(image_set, "the record or pixels of another instance")
        known = self._formats.get(pixels) or self._format_of(pixels, self.reader.page(pixels, 0))
        if known.datastore != store:
            raise misplaced(image_set, "pixels of another data store")
        return InstancePixels(image_set, pixels, known.stored_syntax, known.frame_count, id, patient)

    async def find_here(
        self, datastore_id: str, study: str, series: str, instance: str, image_set_id: str | None = None
    ) -> InstancePixels | None:
        """`find` on an event loop, where look-ups go over a network; None where `find` has to say what does
        not exist or is damaged, in a thread."""
        statement, named = _pixels_look_up(datastore_id, study, series, instance, image_set_id)
        row = await self._stores.db.look_up_here(statement, named)
        if row is None or row[1] is None or row[1] == by_series.ANOTHERS:
            return None
        image_set, pixels, id, patient, store = row
        known = self._formats.get(pixels)
        if known is None:
            known = self._format_of(pixels, await self.reader.page_here(pixels, 0))
        if known.datastore != store:
            return None
        return InstancePixels(image_set, pixels, known.stored_syntax, known.frame_count, id, patient)

    def _format_of(self, pixels: PixelsKey, page: FramePage | None) -> _Format:
        """From the first page of the pixels."""
        if page is None:
            raise InternalError("The frames of the instance are lost; run `lightwell data verify`.")
        if not page.frame_count:
            raise NotAcceptableError(
                "The pixel data of this instance could not be split into frames at import. Request the "
                "whole instance with transfer-syntax=*."
            )
        if len(self._formats) >= MOST_PLACES:
            self._formats.clear()
        format = self._formats[pixels] = _Format(page.stored_syntax, page.frame_count, page.datastore)
        return format

    def frame(self, pixels: InstancePixels, number: int) -> BareFrame:
        """Where frame ``number``, from 1, is stored. Raises `NotFoundError` where there are fewer frames."""
        known = self._frames.get((pixels.key, number))
        if known is not None:
            if known.place.image_set == pixels.image_set:
                return known
            return BareFrame(known.place._replace(image_set=pixels.image_set), known.checksum)
        index = (number - 1) % PAGE
        first = number - 1 - index
        page = self.reader.page(pixels.key, first) if 0 < number <= pixels.frame_count else None
        entry = None if page is None else read_place(page.entries, index)
        if page is None or entry is None:
            raise NotFoundError(f"The instance has {pixels.frame_count} frames; there is no frame {number}.")
        offset, length, head, checksum = entry
        place = FrameLocation(
            pixels.image_set,
            page.object,
            offset + head,
            length - head,
            page.content_type,
            head,
            page.checksum(index, checksum),
            page,
            index,
            pixels.key,
            first,
        )
        found = BareFrame(place, checksum)
        if place.checksum is not None:  # else one may be filled in, and is read with the page
            if len(self._frames) >= MOST_PLACES:
                self._frames.clear()
            self._frames[pixels.key, number] = found
        return found

    async def frame_here(self, pixels: InstancePixels, number: int) -> BareFrame:
        """The same on an event loop."""
        if 0 < number <= pixels.frame_count and (pixels.key, number) not in self._frames:
            # From memory when `frame` looks for it.
            await self.reader.page_here(pixels.key, number - 1 - (number - 1) % PAGE)
        return self.frame(pixels, number)

    def note_access(self, pixels: InstancePixels) -> None:
        """Note that the content of the set was read."""
        self.reader.note_access_to(pixels.image_set)

    def needs_worker(self, pixels: InstancePixels) -> bool:
        """Whether only a codec worker may decode the frames, because lightwell has not encoded them itself.

        JPEG 2000 Lossless may be either; the database knows the transfer syntax of the import.
        """
        if pixels.stored_syntax == JPEG2000_LOSSLESS:
            return self._described(pixels.key)[1] == JPEG2000_LOSSLESS
        return pixels.stored_syntax not in VERIFIED_SYNTAXES

    def decode_by_worker(self, ctx: Context, pixels: InstancePixels, frame: BareFrame) -> tuple[str, bytes]:
        """A frame that is stored as it was imported, in Explicit VR Little Endian, and its photometric
        interpretation. Waits for a codec worker.

        A bare frame does not say which colours it has, so they are those that the attributes describe.
        Raises `NotAcceptableError` where it cannot be decoded, and what `CodecPoolClient.ask` raises.
        """
        if ctx.pool is None:
            raise NotAcceptableError("Lossy frames cannot be decoded: this process has no codec workers.")
        row = self._stores.db.look_up(native_instances.IMAGE_LOOK_UP, (pixels.key,))
        if row is None:
            raise InternalError("The description of the pixels is lost; run `lightwell data verify`.")
        place = frame.place
        order = Decode(
            Pixels(pixels.stored_syntax, bytes(row[0])),
            [
                FrameSpan(
                    place.object,
                    place.offset - place.head,
                    place.length + place.head,
                    place.head,
                    frame.checksum,
                    place.checksum,
                )
            ],
            described=True,
        )
        try:
            answer = ctx.pool.ask(order, ctx.settings.render_timeout, ctx.caller.arn)
        except InputError as error:
            raise NotAcceptableError(
                f"The frame cannot be decoded: {error}. Request it as it is stored, with transfer-syntax=*."
            ) from error
        if not isinstance(answer, Decoded):
            raise InternalError("A codec worker returned an unexpected type of answer.")
        return answer.photometric, answer.frames[0]

    def encode(self, pixels: InstancePixels, photometric: str, native: bytes, syntax: str) -> bytes:
        """What `decode_by_worker` has decoded in a lossless ``syntax``. Takes the time of a codec.

        Raises `NotAcceptableError` where it cannot be encoded.
        """
        # Imported here because sending stored frames needs no codec.
        from lightwell.imaging.pixels.lossless_encoders import encode
        from lightwell.imaging.pixels.samples import from_native

        image = replace(self.description(pixels.key), photometric=photometric)
        try:
            return encode(from_native(native, image), photometric, syntax, image.bits_stored)
        except InputError as error:
            raise _cannot_be_sent(syntax, error) from error

    def transcode(self, pixels: InstancePixels, frame: BareFrame, syntax: str) -> bytes | memoryview:
        """A frame that lightwell has stored without loss in Explicit VR Little Endian or a lossless syntax.

        Takes the time of a codec. Raises `InternalError` where the stored bytes do not decode to the imported
        pixels, `NotAcceptableError` where these cannot be encoded.
        """
        # Imported here because sending stored frames needs no codec.
        from lightwell.imaging.pixels.lossless_encoders import encode
        from lightwell.imaging.pixels.samples import native_view
        from lightwell.imaging.pixels.stored_frames import decode_verified, decoded_photometric

        data = self.reader.read(frame.place, 0, frame.place.length)
        image = self.description(pixels.key)
        try:
            samples = decode_verified(data, 0, pixels.stored_syntax, image, frame.checksum)
        except DamagedError as error:
            raise self.reader.error_for(frame.place, error) from error
        if syntax == EXPLICIT_LITTLE:
            return native_view(samples, image)
        try:
            return encode(samples, decoded_photometric(image), syntax, image.bits_stored)
        except InputError as error:
            raise _cannot_be_sent(syntax, error) from error

    def pieces(
        self, ctx: Context, pixels: InstancePixels, number: int, syntax: str, size: int
    ) -> Iterator[bytes]:
        """Frame ``number``, from 1, in ``syntax``; as stored, in pieces of at most ``size`` bytes.

        Raises the errors of the other methods.
        """
        frame = self.frame(pixels, number)
        if is_same_codestream(pixels.stored_syntax, syntax):
            for start in range(0, frame.place.length, size):
                yield self.reader.read(frame.place, start, min(size, frame.place.length - start))
        elif self.needs_worker(pixels):
            photometric, native = self.decode_by_worker(ctx, pixels, frame)
            yield native if syntax == EXPLICIT_LITTLE else self.encode(pixels, photometric, native, syntax)
        else:
            yield bytes(self.transcode(pixels, frame, syntax))

    def native_pixels(self, ctx: Context, pixels: InstancePixels, size: int) -> Iterator[bytes]:
        """All frames in Explicit VR Little Endian, as the pixel element has them (PS3.5 §8.1.1).

        Raises the errors of the other methods.
        """
        numbers = range(1, pixels.frame_count + 1)
        described = self.description(pixels.key)
        if described.bits_allocated != 1:
            for number in numbers:
                yield from self.pieces(ctx, pixels, number, EXPLICIT_LITTLE, size)
            return
        from lightwell.imaging.instances.writer import pack_bit_frames

        frames = (b"".join(self.pieces(ctx, pixels, number, EXPLICIT_LITTLE, size)) for number in numbers)
        yield from pack_bit_frames(frames, described.frame_bits)

    def description(self, pixels_key: PixelsKey) -> ImageDescription:
        """The description of the frames of some pixels. Raises `InternalError` where it is lost."""
        return self._described(pixels_key)[0]

    def _described(self, pixels_key: PixelsKey) -> tuple[ImageDescription, str]:
        """The description, and the transfer syntax in which the pixels were imported."""
        with self._lock:
            found = self._descriptions.get(pixels_key)
        if found is not None:
            return found
        row = self._stores.db.look_up(native_instances.IMAGE_LOOK_UP, (pixels_key,))
        if row is None:
            raise InternalError("The description of the pixels is lost; run `lightwell data verify`.")
        found = described_image(row[0])
        with self._lock:
            self._descriptions[pixels_key] = found
        return found

    def _missing(
        self, datastore_id: str, study: str, series: str, instance: str, image_set_id: str | None
    ) -> InstancePixels:
        """Raise the error that says what does not exist."""
        with self._stores.db.read() as conn:
            found = lookup.series_set(conn, datastore_id, study, series, image_set_id)
            stored = lookup.instance_of(conn, found, instance)
        # It was imported between the two look-ups.
        if stored.pixels is None:
            raise NotFoundError(f"Instance {instance} has no pixel data.")
        image = stored.pixels
        return InstancePixels(
            found.key, image.key, image.stored_syntax, image.frame_count, found.id, found.patient_id
        )


def _pixels_look_up(
    datastore_id: str, study: str, series: str, instance: str, image_set_id: str | None
) -> tuple[LookUp, tuple[str, ...]]:
    named = (datastore_id, study, series, instance)
    if image_set_id is None:
        return by_series.PIXELS_LOOK_UP, named
    return by_series.PIXELS_LOOK_UP_IN, (*named, image_set_id)


def _cannot_be_sent(syntax: str, error: InputError) -> NotAcceptableError:
    return NotAcceptableError(
        f"The frame is not available in the transfer syntax {syntax}: {error}. "
        "Request it as it is stored, with transfer-syntax=*."
    )
