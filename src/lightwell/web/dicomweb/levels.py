"""Frames cut after a resolution level (``level=k``), and all frames of a series in one response; extensions.

Their bytes are those that are stored, so nothing is decoded. A frame that cannot be cut is sent whole: the
header X-Lightwell-Level of each part says what it is. See docs/howto/levels.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Literal

from lightwell.documents.retrieve_syntax import OCTET_STREAM, fits, media_type
from lightwell.errors import NotAcceptableError, NotFoundError, ValidationError
from lightwell.operations.dicomweb.frames import InstancePixels
from lightwell.operations.dicomweb.lookup import instance_path
from lightwell.operations.frame_lists import frame_list
from lightwell.operations.frame_lists.cuts import EOC, Cut, cut, level_number
from lightwell.operations.frame_lists.frame_list import FrameList, ListedFrame, Selection, Uncut
from lightwell.operations.frame_lists.reading import SentFrame, sent_frames
from lightwell.operations.get_image_frame import LARGE, PIECE, FrameLocation
from lightwell.web.dicomweb import media
from lightwell.web.dicomweb.media import MULTIPART
from lightwell.web.dicomweb.multipart import Multipart
from lightwell.web.requests import packed_frames, ranges
from lightwell.web.requests.frame_bytes import read_frame
from lightwell.web.requests.negotiation import MediaRange
from lightwell.web.requests.responses import Headers, Response
from lightwell.web.requests.streams import FIRST, start_stream

if TYPE_CHECKING:
    from lightwell.web.dicomweb.dispatch import DicomwebRequest

_VARY = (b"vary", b"accept")
_UNCUT: dict[str, Uncut] = {"whole": "whole", "omit": "omit"}


def requested_level(request: DicomwebRequest) -> int | None:
    """The resolution level in the query, None without one. Raises `ValidationError`."""
    text = media.query_parameter(request.http, "level")
    return None if text is None else level_number(text)


async def cut_frames(
    request: DicomwebRequest, found: InstancePixels, numbers: Sequence[int], level: int
) -> Response:
    """Frames of an instance after resolution level ``level``, as parts or a single one by itself."""
    form = as_stored(media.accepted_media_ranges(request.http), found.stored_syntax, len(numbers))
    content_type = _content_type(found.stored_syntax)
    place = await _locate(request, found, numbers[0])
    first = cut(place, level)
    # A frame may get levels that it has not yet: its length tells which bytes these are.
    listed = ".".join(map(str, numbers)) if len(numbers) < 9 else _digest(numbers)
    etag = f'{"" if form == "single" else "W/"}"{found.key:x}-level{level}-{first.length}-{listed}"'.encode()
    if ranges.matches_if_none_match(request.http, etag):
        return ranges.not_modified(etag)
    request.state.instance_frames.note_access(found)
    piece = await _read(request, place, first, 0)
    if form == "single":
        headers: Headers = [
            (b"etag", etag),
            _VARY,
            (b"content-type", content_type.encode()),
            (b"content-length", b"%d" % first.length),
            *((name.lower().encode(), value.encode()) for name, value in first.headers()),
        ]
        return Response(200, headers, _single(request, place, first, piece))
    parts = Multipart(request.http.id)
    location = instance_url(request) + "/frames/"
    tail = _tail(request, level)

    async def pieces() -> AsyncIterator[bytes]:
        at, wanted, data = place, first, piece
        for index, number in enumerate(numbers):
            if index:
                at = await _locate(request, found, number)
                wanted = cut(at, level)
                data = await _read(request, at, wanted, 0)
            more = [f"{name}: {value}" for name, value in wanted.headers()]
            yield parts.opening(content_type, f"{location}{number}{tail}", more, first=not index)
            async for each in _single(request, at, wanted, data):
                yield each
        yield parts.closing

    headers = [(b"etag", etag), _VARY, (b"content-type", parts.content_type(media_type(found.stored_syntax)))]
    return Response(200, headers, pieces())


async def _single(
    request: DicomwebRequest, place: FrameLocation, wanted: Cut, piece: bytes
) -> AsyncIterator[bytes]:
    """All of a frame or cut, from its first ``piece`` on."""
    sent = 0
    while True:
        sent += len(piece)
        # A cut ends with a marker of two bytes that is not stored there.
        yield piece + EOC if wanted.level is not None and sent == wanted.stored else piece
        if sent == wanted.stored:
            return
        piece = await _read(request, place, wanted, sent)


async def _read(request: DicomwebRequest, place: FrameLocation, wanted: Cut, start: int) -> bytes:
    """What of a frame is sent next, all of it where it is not long."""
    length = wanted.stored - start
    if start or length > LARGE:
        length = min(PIECE, length)
    elif wanted.check is not None:
        warm = request.state.frames.read_warm_cut(place, wanted.check)
        if warm is not None:
            return bytes(warm)
    return bytes(await read_frame(request.state, place, start, length))


async def _locate(request: DicomwebRequest, found: InstancePixels, number: int) -> FrameLocation:
    reader = request.state.instance_frames
    frame = await reader.frame_here(found, number) if reader.may_wait else reader.frame(found, number)
    return frame.place


async def series_frames(request: DicomwebRequest) -> Response:
    """Frames of a series in one response: all, or those that the query lists, cut or whole.

    Raises `ValidationError` for a malformed query, `NotFoundError` for frames that do not exist,
    `NotAcceptableError` if the client accepts none of the formats.
    """
    http, resource, state = request.http, request.resource, request.state
    text = media.query_parameter(http, "uncut") or "whole"
    if text not in _UNCUT:
        raise ValidationError("The query parameter uncut is whole or omit.")
    level = requested_level(request)
    selection = Selection(
        level,
        media.query_parameter(http, "frames"),
        first=media.query_parameter(http, "first"),
        uncut=_UNCUT[text],
    )
    named = resource.datastore_id, resource.study or "", resource.series or ""
    image_set_id = media.query_parameter(http, "imageSetId")
    ctx = request.ctx

    def find() -> tuple[FrameList, int, Iterator[ListedFrame]]:
        found = frame_list.of_series(ctx, *named, image_set_id)
        if not found.instances:
            raise NotFoundError(
                "The pixel data of this series could not be split into frames at import."
                if found.unsplit
                else f"Series {resource.series} has no pixel data."
            )
        return found, *found.choose(state.frames, selection)

    found, count, listed = await state.in_thread(find)
    accepted = media.accepted_media_ranges(http)
    kind = _format(accepted, found)
    frames = sent_frames(state.instance_frames, listed, level, selection.uncut)
    headers: Headers = [_VARY]
    if kind == "packed":
        # Without an entity tag: what could not be read this time must not be kept.
        headers.append((b"content-type", packed_frames.MEDIA_TYPE.encode()))
        pieces = packed_frames.packed(found, level, count, frames)
    else:
        base = media.base_url(http, state.settings)
        digest = _digest((kind, found.image_set, found.version, found.mark, base, selection))
        etag = f'W/"{digest}"'.encode()
        if ranges.matches_if_none_match(http, etag):
            return ranges.not_modified(etag)
        parts = Multipart(http.id)
        headers += [(b"etag", etag), (b"content-type", parts.content_type(kind))]
        pieces = _parts(request, parts, frames, level)
    return Response(200, headers, await start_stream(state.threads, pieces, FIRST))


def _parts(
    request: DicomwebRequest, parts: Multipart, frames: Iterator[SentFrame], level: int | None
) -> Iterator[bytes]:
    resource = request.resource
    base, tail = media.base_url(request.http, request.state.settings), _tail(request, level)
    is_first = True
    for each in frames:
        if each.error is not None:
            raise each.error
        if each.cut is None:
            continue
        frame = each.frame
        path = instance_path(resource.study or "", resource.series or "", frame.sop_instance_uid)
        yield parts.opening(
            _content_type(frame.pixels.stored_syntax),
            f"{base}{path}/frames/{frame.number}{tail}",
            [f"{name}: {value}" for name, value in each.cut.headers()],
            first=is_first,
        )
        is_first = False
        yield from each.pieces
    yield parts.closing


def as_stored(accepted: tuple[MediaRange, ...], stored_syntax: str, count: int) -> Literal["single", "parts"]:
    """How frames are sent as they are stored, to a client that accepts that; without a transfer syntax it
    accepts any. Raises `NotAcceptableError` if it does not.
    """
    for each in accepted or (MediaRange("*/*"),):
        in_parts = each.type in (MULTIPART, "*/*", "*", "multipart/*") and MULTIPART not in each.refused
        if in_parts or count == 1:
            kind = (each.inner or "*/*") if each.type == MULTIPART else each.type
            if _takes(each, stored_syntax, "*/*" if kind == "multipart/*" else kind):
                return "parts" if in_parts else "single"
    raise NotAcceptableError(
        f"With a level, frames are sent as they are stored, in transfer syntax {stored_syntax}, which the "
        f'Accept header does not allow. Send Accept: {MULTIPART}; type="{media_type(stored_syntax)}"; '
        "transfer-syntax=*."
    )


def _takes(each: MediaRange, stored_syntax: str, kind: str) -> bool:
    return (
        each.transfer_syntax in (None, "*", stored_syntax)
        and fits(stored_syntax, kind)
        and media_type(stored_syntax) not in each.refused
    )


def _format(accepted: tuple[MediaRange, ...], found: FrameList) -> str:
    """``packed``, or the media type of the parts."""
    syntaxes = dict.fromkeys(each.stored_syntax for each in found.instances)
    for each in accepted or (MediaRange(MULTIPART),):
        if each.type == packed_frames.MEDIA_TYPE:
            return "packed"
        if each.type in (MULTIPART, "*/*", "*", "multipart/*") and MULTIPART not in each.refused:
            kind = (each.inner or "*/*") if each.type == MULTIPART else "*/*"
            if all(_takes(each, syntax, kind) for syntax in syntaxes):
                return media_type(next(iter(syntaxes))) if len(syntaxes) == 1 else OCTET_STREAM
    raise NotAcceptableError(
        f"The frames of the series are stored in transfer syntax {', '.join(syntaxes)} and are sent so, as "
        f"{packed_frames.MEDIA_TYPE} or {MULTIPART}; transfer-syntax=*, neither of which the Accept header "
        "allows."
    )


def _digest(values: Sequence[object]) -> str:
    return sha256(repr(values).encode()).hexdigest()[:32]


def _content_type(syntax: str) -> str:
    return f"{media_type(syntax)}; transfer-syntax={syntax}"


def instance_url(request: DicomwebRequest) -> str:
    """The URL of the instance that the request names."""
    resource = request.resource
    base = media.base_url(request.http, request.state.settings)
    return base + instance_path(resource.study or "", resource.series or "", resource.instance or "")


def _tail(request: DicomwebRequest, level: int | None) -> str:
    """The query of the URL of a frame, so that it names the same bytes."""
    image_set_id = media.query_parameter(request.http, "imageSetId")
    given = [("level", level), ("imageSetId", image_set_id)]
    text = "&".join(f"{name}={value}" for name, value in given if value is not None)
    return f"?{text}" if text else ""
