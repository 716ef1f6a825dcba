"""Frames of an instance (WADO-RS), on the event loop where nothing has to be waited for.

Source: PS3.18 §10.4 and §8.7.3, AWS's dicomweb-retrieve-instance-frames page. Single-part answers, byte
ranges and conditions are extensions. What can wait, and every codec, goes to a thread.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from lightwell.documents.retrieve_syntax import fits, media_type, syntax_for
from lightwell.errors import NotAcceptableError, NotFoundError, ValidationError
from lightwell.operations.dicomweb.frames import BareFrame, InstanceFrames, InstancePixels
from lightwell.web.aws_json.get_image_frame import LARGE, PIECE
from lightwell.web.dicomweb import media, ranges
from lightwell.web.dicomweb.media import MULTIPART
from lightwell.web.dicomweb.multipart import Multipart
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
    """How frames are sent: in this transfer syntax, as parts or one frame alone."""

    syntax: str
    media_type: str
    in_parts: bool

    @property
    def content_type(self) -> str:
        return f"{self.media_type}; transfer-syntax={self.syntax}"


async def frames(visit: DicomwebRequest) -> Response:
    """The frames that the path lists, in its order.

    Raises `ValidationError` for a list that is none, `NotFoundError` for frames that are not there,
    `NotAcceptableError` where what is stored cannot be had as the client takes it.
    """
    request, resource = visit.request, visit.resource
    reader: InstanceFrames = visit.state.instance_frames
    numbers = frame_numbers(resource.item or "")
    path = (resource.datastore_id, resource.study or "", resource.series or "", resource.instance or "")
    image_set_id = media.parameter(request, "imageSetId")
    found = await _looked_up(visit, reader.find, *path, image_set_id)
    most = max(numbers)
    if most > found.frame_count:
        raise NotFoundError(f"The instance has {found.frame_count} frames, and no frame {most}.")
    form = format_for(media.wanted(request), found.stored_syntax, len(numbers))
    etag = _etag(found, form, numbers)
    if ranges.is_known(request, etag):
        return ranges.not_modified(etag)
    reader.accessed(found)
    headers: Headers = [(b"etag", etag), _VARY]
    answer = _parts if form.in_parts else _alone
    return await answer(visit, found, numbers, form, headers)


def frame_numbers(text: str) -> list[int]:
    """The frames that a path names, from 1, in its order.

    Raises `ValidationError` for what is no list of numbers, for 0, and for a frame named twice.
    """
    if not _NUMBERS.fullmatch(text):
        raise ValidationError(f"{text[:80]!r} is no list of frames: it takes numbers from 1, and commas.")
    numbers = [int(number) for number in text.split(",")]
    if 0 in numbers:
        raise ValidationError("Frames are numbered from 1; there is no frame 0.")
    if len(set(numbers)) < len(numbers):
        raise ValidationError("A frame is named twice; name each once.")
    return numbers


@lru_cache(512)
def format_for(wanted: tuple[MediaRange, ...], stored_syntax: str, count: int) -> FrameFormat:
    """The first alternative of an Accept header in which the frames can be had.

    Raises `NotAcceptableError` where there is none.
    """
    for each in wanted or (MediaRange("*/*"),):
        in_parts = each.type in (MULTIPART, "*/*", "*", "multipart/*")
        kind = (each.inner or "*/*") if each.type == MULTIPART else each.type
        if not in_parts and count > 1:
            continue
        if kind == "multipart/*":
            kind = "*/*"
        syntax = syntax_for(stored_syntax, each.transfer_syntax, decodes=True)
        if syntax is None or not fits(syntax, kind):
            # The type itself may say which syntax is meant.
            syntax = _meant(stored_syntax, kind) if each.transfer_syntax is None else None
        if syntax is not None:
            return FrameFormat(syntax, media_type(syntax), in_parts)
    raise NotAcceptableError(
        f"The frames are stored under the transfer syntax {stored_syntax} and cannot be had in any form that "
        f'the Accept header takes. Send Accept: {MULTIPART}; type="application/octet-stream"; '
        "transfer-syntax=* to get them as they are stored."
    )


def _meant(stored_syntax: str, kind: str) -> str | None:
    for wanted in ("*", "1.2.840.10008.1.2.4.90"):
        syntax = syntax_for(stored_syntax, wanted)
        if syntax is not None and fits(syntax, kind):
            return syntax
    return None


def _etag(found: InstancePixels, form: FrameFormat, numbers: Sequence[int]) -> bytes:
    # The boundary between parts is another each time, so what is in parts is only equivalent.
    strength = "W/" if form.in_parts else ""
    listed = ".".join(map(str, numbers)) if len(numbers) < 9 else f"{hash(tuple(numbers)) & (1 << 64) - 1:x}"
    return f'{strength}"{found.key:x}-{form.syntax.rpartition(".")[2]}-{listed}"'.encode()


async def _alone(
    visit: DicomwebRequest, found: InstancePixels, numbers: Sequence[int], form: FrameFormat, headers: Headers
) -> Response:
    """One frame as the whole body, or a range of its bytes."""
    request = visit.request
    frame = await _placed(visit, found, numbers[0])
    data: bytes | memoryview | None = None
    if form.syntax != found.stored_syntax:
        data = await _transcoded(visit, found, frame, form)
    total = frame.place.length if data is None else len(data)
    span = ranges.span(request, total, headers[0][1])
    if span is None:
        return ranges.unsatisfiable(total)
    headers += [(b"content-type", form.content_type.encode()), *span.headers()]
    body: bytes | AsyncIterator[bytes]
    if data is not None:
        body = bytes(data[span.start : span.start + span.length])
    elif span.length > LARGE:
        body = _from_first(await _started(visit, frame, span.start, span.length), visit, frame, span)
    else:
        body = await _read(visit, frame, span.start, span.length)
    return Response(span.status, headers, body)


async def _parts(
    visit: DicomwebRequest, found: InstancePixels, numbers: Sequence[int], form: FrameFormat, headers: Headers
) -> Response:
    """The frames as parts, each read when it is its turn."""
    request = visit.request
    parts = Multipart(request.id)
    location = _location(visit)
    headers.append((b"content-type", parts.content_type(form.media_type)))
    first = await _placed(visit, found, numbers[0])
    opening = parts.opening(form.content_type, location(numbers[0]), first=True)
    data: bytes | memoryview
    if len(numbers) == 1 and (form.syntax != found.stored_syntax or first.place.length <= LARGE):
        if form.syntax == found.stored_syntax:
            data = await _read(visit, first, 0, first.place.length)
        else:
            data = await _transcoded(visit, found, first, form)
        body = b"".join((opening, data, parts.closing))
        headers.append((b"content-length", b"%d" % len(body)))
        return Response(200, headers, body)
    # The first is read before the answer begins, so that what is lost is a 500 and no broken body.
    begun = await _begun(visit, found, first, form)
    return Response(200, headers, _stream(visit, found, numbers, form, parts, opening, first, begun))


async def _stream(
    visit: DicomwebRequest,
    found: InstancePixels,
    numbers: Sequence[int],
    form: FrameFormat,
    parts: Multipart,
    opening: bytes,
    frame: BareFrame,
    begun: bytes,
) -> AsyncIterator[bytes]:
    location = _location(visit)
    yield opening + begun
    for position, number in enumerate(numbers):
        if position:
            frame = await _placed(visit, found, number)
            begun = await _begun(visit, found, frame, form)
            yield parts.opening(form.content_type, location(number)) + begun
        if form.syntax == found.stored_syntax:
            sent = len(begun)
            while sent < frame.place.length:
                piece = await _read(visit, frame, sent, min(PIECE, frame.place.length - sent))
                sent += len(piece)
                yield piece
    yield parts.closing


async def _begun(visit: DicomwebRequest, found: InstancePixels, frame: BareFrame, form: FrameFormat) -> bytes:
    """A whole frame where that is not too much, else the first piece of it."""
    if form.syntax != found.stored_syntax:
        return bytes(await _transcoded(visit, found, frame, form))
    length = frame.place.length
    return await _read(visit, frame, 0, length if length <= LARGE else PIECE)


async def _started(visit: DicomwebRequest, frame: BareFrame, start: int, length: int) -> bytes:
    return await _read(visit, frame, start, min(PIECE, length))


async def _from_first(
    piece: bytes, visit: DicomwebRequest, frame: BareFrame, span: ranges.ByteRange
) -> AsyncIterator[bytes]:
    sent = 0
    while True:
        yield piece
        sent += len(piece)
        if sent == span.length:
            return
        piece = await _read(visit, frame, span.start + sent, min(PIECE, span.length - sent))


async def _looked_up(visit: DicomwebRequest, look: Callable[..., T], *arguments: object) -> T:
    """What a call that asks the database returns, made in a thread where that may have to be waited for."""
    if visit.state.instance_frames.may_wait:
        return await visit.state.in_thread(look, *arguments)
    return look(*arguments)


async def _placed(visit: DicomwebRequest, found: InstancePixels, number: int) -> BareFrame:
    return await _looked_up(visit, visit.state.instance_frames.frame, found, number)


async def _read(visit: DicomwebRequest, frame: BareFrame, start: int, length: int) -> bytes:
    reader = visit.state.frames
    if not start and length == frame.place.length:
        data = reader.read_warm(frame.place)
        if data is not None:
            return data
    return await visit.state.in_thread(reader.read, frame.place, start, length)


async def _transcoded(
    visit: DicomwebRequest, found: InstancePixels, frame: BareFrame, form: FrameFormat
) -> bytes | memoryview:
    reader = visit.state.instance_frames
    if await _looked_up(visit, reader.needs_worker, found):
        return await asyncio.get_running_loop().run_in_executor(
            visit.state.waiters, reader.by_worker, visit.state.context(visit.caller), found, frame
        )
    return await visit.state.in_thread(reader.transcoded, found, frame, form.syntax)


def _location(visit: DicomwebRequest) -> Callable[[int], str]:
    """The address of each frame, which leads to the same image set."""
    resource = visit.resource
    base = media.base_url(visit.request, visit.state.settings)
    path = f"{base}/studies/{resource.study}/series/{resource.series}/instances/{resource.instance}/frames/"
    image_set_id = media.parameter(visit.request, "imageSetId")
    tail = f"?imageSetId={image_set_id}" if image_set_id else ""
    return lambda number: f"{path}{number}{tail}"
