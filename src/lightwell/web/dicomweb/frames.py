"""Frames of an instance (WADO-RS), on the event loop as long as nothing blocks.

Source: PS3.18 §10.4 and §8.7.3, AWS's dicomweb-retrieve-instance-frames page. Single-part responses, byte
ranges and conditional requests are extensions. What can block, and every codec, runs in a thread.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from lightwell.documents.retrieve_syntax import (
    EXPLICIT_LITTLE,
    OCTET_STREAM,
    ImageDescription,
    fits,
    implied_syntax,
    is_same_codestream,
    media_type,
    needs_description,
    syntax_for,
)
from lightwell.errors import NotAcceptableError, NotFoundError, ValidationError
from lightwell.operations.dicomweb.frames import BareFrame, InstanceFrames, InstancePixels
from lightwell.operations.get_image_frame import LARGE, PIECE
from lightwell.web.dicomweb import levels, media
from lightwell.web.dicomweb.media import MULTIPART
from lightwell.web.dicomweb.multipart import Multipart
from lightwell.web.requests import ranges
from lightwell.web.requests.frame_bytes import read_frame
from lightwell.web.requests.negotiation import MediaRange
from lightwell.web.requests.responses import Headers, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightwell.web.dicomweb.dispatch import DicomwebRequest

T = TypeVar("T")

_NUMBERS = re.compile(r"[0-9]{1,9}(?:,[0-9]{1,9})*")
_VARY = (b"vary", b"accept")


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """How frames are sent: in which transfer syntax, and as parts or a single frame by itself.

    ``as_stored``: their bytes are those that are stored. ``is_assumed``: whether they are available in the
    syntax depends on what describes them.
    """

    syntax: str
    media_type: str
    in_parts: bool
    as_stored: bool
    is_assumed: bool

    @property
    def content_type(self) -> str:
        return f"{self.media_type}; transfer-syntax={self.syntax}"


async def frames(request: DicomwebRequest) -> Response:
    """The frames that the path lists, in that order.

    Raises `ValidationError` for a malformed list, `NotFoundError` for frames that do not exist,
    `NotAcceptableError` if the client accepts no available format.
    """
    http, resource = request.http, request.resource
    reader: InstanceFrames = request.state.instance_frames
    numbers = frame_numbers(resource.item or "")
    path = (resource.datastore_id, resource.study or "", resource.series or "", resource.instance or "")
    image_set_id = media.query_parameter(http, "imageSetId")
    found = await reader.find_here(*path, image_set_id) if reader.may_wait else None
    if found is None:
        found = await _look_up(request, reader.find, *path, image_set_id)
    http.shown = found.image_set_id, found.patient_id, resource.study, resource.series
    http.item = resource.item
    most = max(numbers)
    if most > found.frame_count:
        raise NotFoundError(f"The instance has {found.frame_count} frames; frame {most} does not exist.")
    if b"level" in http.query and (level := levels.requested_level(request)) is not None:
        return await levels.cut_frames(request, found, numbers, level)
    accepted = media.accepted_media_ranges(http)
    form = format_for(accepted, found.stored_syntax, len(numbers))
    if form.is_assumed:
        image = await _look_up(request, reader.description, found.key)
        form = format_for(accepted, found.stored_syntax, len(numbers), image)
    etag = _etag(found, form, numbers)
    if ranges.matches_if_none_match(http, etag):
        return ranges.not_modified(etag)
    reader.note_access(found)
    headers: Headers = [(b"etag", etag), _VARY]
    respond = _multipart if form.in_parts else _single_part
    return await respond(request, found, numbers, form, headers)


def frame_numbers(text: str) -> list[int]:
    """The frames that a path names, counted from 1, in that order.

    Raises `ValidationError` for anything but a list of numbers, for 0, and for a repeated frame.
    """
    if not _NUMBERS.fullmatch(text):
        raise ValidationError(
            f"{text[:80]!r} is not a frame list: use frame numbers from 1, separated by commas."
        )
    numbers = [int(number) for number in text.split(",")]
    if 0 in numbers:
        raise ValidationError("Frames are numbered from 1, so there is no frame 0.")
    if len(set(numbers)) < len(numbers):
        raise ValidationError("A frame is listed more than once: list each frame once.")
    return numbers


@lru_cache(512)
def format_for(
    accepted: tuple[MediaRange, ...], stored_syntax: str, count: int, image: ImageDescription | None = None
) -> FrameFormat:
    """The first alternative of an Accept header in which the frames, described by ``image``, are available.

    Of several with the same ``q``, the frames as they are stored come before another compression: viewers
    list all that they can read, and every tile of a slide would be compressed anew. Without a description the
    answer may be assumed, and nothing is refused that is available. Raises `NotAcceptableError` if there is
    no such alternative.
    """
    made_anew: FrameFormat | None = None
    q = 0.0
    for each in accepted or (MediaRange("*/*"),):
        if made_anew is not None and each.q < q:
            break
        form = _format_of(each, stored_syntax, count, image)
        if form is None:
            continue
        if form.as_stored or (made_anew is None and form.media_type == OCTET_STREAM):
            return form
        if made_anew is None:
            made_anew, q = form, each.q
    if made_anew is not None:
        return made_anew
    raise NotAcceptableError(
        f"The frames are stored in transfer syntax {stored_syntax} and are not available in any format that "
        f'the Accept header allows. Send Accept: {MULTIPART}; type="application/octet-stream"; '
        "transfer-syntax=* to get them as stored."
    )


def _format_of(
    each: MediaRange, stored_syntax: str, count: int, image: ImageDescription | None
) -> FrameFormat | None:
    """The form of the frames that meets one alternative, None if there is none."""
    in_parts = each.type in (MULTIPART, "*/*", "*", "multipart/*") and MULTIPART not in each.refused
    kind = (each.inner or "*/*") if each.type == MULTIPART else each.type
    if not in_parts and count > 1:
        return None
    if kind == "multipart/*":
        kind = "*/*"
    syntax = syntax_for(stored_syntax, each.transfer_syntax, image)
    if syntax is None or not fits(syntax, kind):
        unnamed = each.transfer_syntax is None
        syntax = implied_syntax(stored_syntax, kind, image) if unnamed else None
    if syntax is None or media_type(syntax) in each.refused:
        return None
    as_stored = is_same_codestream(stored_syntax, syntax)
    is_assumed = image is None and not as_stored and needs_description(stored_syntax, syntax)
    return FrameFormat(syntax, media_type(syntax), in_parts, as_stored, is_assumed)


def _etag(found: InstancePixels, form: FrameFormat, numbers: Sequence[int]) -> bytes:
    # The boundary is different each time, and the next release of an encoder may code the same pixels as
    # other bytes, so these responses are only weakly equivalent.
    is_encoded = not form.as_stored and form.syntax != EXPLICIT_LITTLE
    strength = "W/" if form.in_parts or is_encoded else ""
    listed = ".".join(map(str, numbers)) if len(numbers) < 9 else f"{hash(tuple(numbers)) & (1 << 64) - 1:x}"
    return f'{strength}"{found.key:x}-{form.syntax.rpartition(".")[2]}-{listed}"'.encode()


async def _single_part(
    request: DicomwebRequest,
    found: InstancePixels,
    numbers: Sequence[int],
    form: FrameFormat,
    headers: Headers,
) -> Response:
    """One frame as the whole body, or a range of its bytes."""
    http = request.http
    frame = await _locate(request, found, numbers[0])
    data: bytes | memoryview | None = None
    if not form.as_stored:
        data = await _transcoded(request, found, frame, form)
    total = frame.place.length if data is None else len(data)
    byte_range = ranges.requested_range(http, total, headers[0][1])
    if byte_range is None:
        return ranges.unsatisfiable(total)
    headers += [(b"content-type", form.content_type.encode()), *byte_range.headers()]
    body: bytes | AsyncIterator[bytes]
    if data is not None:
        body = bytes(data[byte_range.start : byte_range.start + byte_range.length])
    elif byte_range.length > LARGE:
        first = bytes(await _read(request, frame, byte_range.start, PIECE))
        body = _range_in_pieces(request, frame, byte_range, first)
    else:
        body = bytes(await _read(request, frame, byte_range.start, byte_range.length))
    return Response(byte_range.status, headers, body)


async def _multipart(
    request: DicomwebRequest,
    found: InstancePixels,
    numbers: Sequence[int],
    form: FrameFormat,
    headers: Headers,
) -> Response:
    """The frames as parts, each read only when its turn comes."""
    parts = Multipart(request.http.id)
    headers.append((b"content-type", parts.content_type(form.media_type)))
    first = await _locate(request, found, numbers[0])
    data: bytes | memoryview
    if len(numbers) == 1 and (not form.as_stored or first.place.length <= LARGE):
        if form.as_stored:
            data = await _read(request, first, 0, first.place.length)
        else:
            data = await _transcoded(request, found, first, form)
        opening = parts.opening(form.content_type, _location(request)(numbers[0]), first=True)
        body = b"".join((opening, data, parts.closing))
        headers.append((b"content-length", b"%d" % len(body)))
        return Response(200, headers, body)
    # The first is read before the response starts: a lost frame is a 500, not a truncated body.
    piece = await _first_piece(request, found, first, form)
    return Response(200, headers, _stream(request, found, numbers, form, parts, first, piece))


async def _stream(
    request: DicomwebRequest,
    found: InstancePixels,
    numbers: Sequence[int],
    form: FrameFormat,
    parts: Multipart,
    frame: BareFrame,
    piece: bytes,
) -> AsyncIterator[bytes]:
    """All parts; ``frame`` is the first one, ``piece`` what was read of it before the response began."""
    location = _location(request)
    for position, number in enumerate(numbers):
        if position:
            frame = await _locate(request, found, number)
            piece = await _first_piece(request, found, frame, form)
        yield parts.opening(form.content_type, location(number), first=not position) + piece
        if form.as_stored:
            sent = len(piece)
            while sent < frame.place.length:
                piece = bytes(await _read(request, frame, sent, min(PIECE, frame.place.length - sent)))
                sent += len(piece)
                yield piece
    yield parts.closing


async def _first_piece(
    request: DicomwebRequest, found: InstancePixels, frame: BareFrame, form: FrameFormat
) -> bytes:
    """A whole frame, or the first piece of a large one."""
    if not form.as_stored:
        return bytes(await _transcoded(request, found, frame, form))
    length = frame.place.length
    return bytes(await _read(request, frame, 0, length if length <= LARGE else PIECE))


async def _range_in_pieces(
    request: DicomwebRequest, frame: BareFrame, byte_range: ranges.ByteRange, piece: bytes
) -> AsyncIterator[bytes]:
    sent = 0
    while True:
        yield piece
        sent += len(piece)
        if sent == byte_range.length:
            return
        length = min(PIECE, byte_range.length - sent)
        piece = bytes(await _read(request, frame, byte_range.start + sent, length))


async def _look_up(request: DicomwebRequest, look: Callable[..., T], *arguments: object) -> T:
    """Run a call that queries the database, in a thread if that may block."""
    if request.state.instance_frames.may_wait:
        return await request.state.in_thread(look, *arguments)
    return look(*arguments)


async def _locate(request: DicomwebRequest, found: InstancePixels, number: int) -> BareFrame:
    reader = request.state.instance_frames
    return await reader.frame_here(found, number) if reader.may_wait else reader.frame(found, number)


async def _read(request: DicomwebRequest, frame: BareFrame, start: int, length: int) -> bytes | memoryview:
    return await read_frame(request.state, frame.place, start, length)


async def _transcoded(
    request: DicomwebRequest, found: InstancePixels, frame: BareFrame, form: FrameFormat
) -> bytes | memoryview:
    """A frame that is not sent as it is stored. Raises `UnavailableError` where too many are decoded now."""
    image = await _look_up(request, request.state.instance_frames.description, found.key)
    # As stored, as samples, and as they are sent.
    async with request.state.decoded.taken(frame.place.length + 2 * image.frame_bytes):
        return await _decoded(request, found, frame, form)


async def _decoded(
    request: DicomwebRequest, found: InstancePixels, frame: BareFrame, form: FrameFormat
) -> bytes | memoryview:
    state, loop = request.state, asyncio.get_running_loop()
    reader = state.instance_frames
    # Decoding is quick; what encodes waits its turn among its like, so that nothing else waits for it.
    threads = state.threads if form.syntax == EXPLICIT_LITTLE else state.encoders
    if await _look_up(request, reader.needs_worker, found):
        photometric, native = await loop.run_in_executor(
            state.waiters, reader.decode_by_worker, request.ctx, found, frame
        )
        if form.syntax == EXPLICIT_LITTLE:
            return native
        return await loop.run_in_executor(threads, reader.encode, found, photometric, native, form.syntax)
    return await loop.run_in_executor(threads, reader.transcode, found, frame, form.syntax)


@dataclass(frozen=True, slots=True)
class Stream:
    """The first frame of an instance as it is stored: the whole of a video."""

    request: DicomwebRequest
    frame: BareFrame

    @classmethod
    async def open(cls, request: DicomwebRequest, found: InstancePixels) -> Stream:
        request.state.instance_frames.note_access(found)
        return cls(request, await _locate(request, found, 1))

    async def read(self, start: int, length: int) -> bytes:
        length = min(length, self.frame.place.length - start)
        return bytes(await _read(self.request, self.frame, start, length))

    async def respond(self, media_type: str, headers: Headers) -> Response:
        """All of it, or the range that is requested; the first header is the entity tag."""
        total = self.frame.place.length
        byte_range = ranges.requested_range(self.request.http, total, headers[0][1])
        if byte_range is None:
            return ranges.unsatisfiable(total)
        headers = [*headers, (b"content-type", media_type.encode()), *byte_range.headers()]
        piece = await self.read(byte_range.start, min(byte_range.length, PIECE))
        if byte_range.length <= len(piece):
            return Response(byte_range.status, headers, piece)
        body = _range_in_pieces(self.request, self.frame, byte_range, piece)
        return Response(byte_range.status, headers, body)


def _location(request: DicomwebRequest) -> Callable[[int], str]:
    """The URL of each frame, in the same image set."""
    path = levels.instance_url(request)
    image_set_id = media.query_parameter(request.http, "imageSetId")
    tail = f"?imageSetId={image_set_id}" if image_set_id else ""
    return lambda number: f"{path}/frames/{number}{tail}"
