"""Bulk data of instances, one value or all of them (WADO-RS).

Source: PS3.18 §10.4 and §8.7.3.3.1, AWS's dicom-retrieve-bulkdata page. Multipart responses, byte ranges,
conditional requests and the collections of an instance, a series and a study are extensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from lightwell.errors import NotAcceptableError, NotFoundError
from lightwell.operations.dicomweb import bulkdata as dicomweb_bulkdata
from lightwell.operations.dicomweb import metadata
from lightwell.web.dicomweb import media
from lightwell.web.dicomweb.metadata import metadata_target
from lightwell.web.dicomweb.multipart import Multipart
from lightwell.web.requests import ranges
from lightwell.web.requests.negotiation import MediaRange
from lightwell.web.requests.responses import Headers, Response
from lightwell.web.requests.streams import PIECE, start_stream

if TYPE_CHECKING:
    from lightwell.imaging.instances.bulk_values import BulkValue
    from lightwell.web.dicomweb.dispatch import DicomwebRequest

_OCTET_STREAM = "application/octet-stream"
_ANY = (_OCTET_STREAM, "application/*", "*/*", "*")
# Values are always little endian, as in the default transfer syntax.
_SYNTAXES = (None, "*", "1.2.840.10008.1.2.1")


async def bulkdata(request: DicomwebRequest) -> Response:
    """One value, in bounded memory regardless of its size."""
    state, http = request.state, request.http
    in_parts = _is_multipart(request, alone=True)
    target = metadata_target(request)
    find = partial(
        dicomweb_bulkdata.find_bulk_value,
        request.ctx,
        target,
        request.resource.item or "",
    )
    tag, value = await state.in_thread(find)
    # The boundary is different each time, so multipart responses are only weakly equivalent.
    etag = f'{"W/" if in_parts else ""}"{tag}"'.encode()
    if ranges.matches_if_none_match(http, etag):
        return ranges.not_modified(etag)
    headers: Headers = [(b"etag", etag), (b"vary", b"accept")]
    if in_parts:
        parts = Multipart(http.id)
        suffix = f"?imageSetId={target.image_set_id}" if target.image_set_id else ""
        location = f"{target.base}{http.path.decode('latin-1').partition(target.datastore_id)[2]}{suffix}"
        opening = parts.opening(_OCTET_STREAM, location, first=True)
        length = len(opening) + value.length + len(parts.closing)
        headers += [
            (b"content-type", parts.content_type(_OCTET_STREAM)),
            (b"content-length", b"%d" % length),
        ]
        pieces = _as_one_part(opening, value, parts.closing)
        return Response(200, headers, await start_stream(state.threads, pieces))
    byte_range = ranges.requested_range(http, value.length, etag)
    if byte_range is None:
        return ranges.unsatisfiable(value.length)
    headers += [(b"content-type", _OCTET_STREAM.encode()), *byte_range.headers()]
    pieces = value_pieces(value, byte_range.start, byte_range.length)
    return Response(byte_range.status, headers, await start_stream(state.threads, pieces))


async def collection(request: DicomwebRequest) -> Response:
    """All values of a study, a series or an instance, each as a part with its Content-Location."""
    state = request.state
    _is_multipart(request, alone=False)
    target = metadata_target(request)
    ctx = request.ctx

    def first() -> tuple[tuple[str, BulkValue] | None, Iterator[tuple[str, BulkValue]]]:
        values = dicomweb_bulkdata.collect_bulk_values(ctx, target, metadata.find_image_sets(ctx, target))
        return next(values, None), values

    found, values = await state.in_thread(first)
    if found is None:
        raise NotFoundError("There is no bulk data: every value is in the metadata.")
    parts = Multipart(request.http.id)
    headers: Headers = [(b"content-type", parts.content_type(_OCTET_STREAM)), (b"vary", b"accept")]
    return Response(200, headers, await start_stream(state.threads, _as_parts(parts, found, values)))


def _is_multipart(request: DicomwebRequest, *, alone: bool) -> bool:
    """Whether to respond with ``multipart/related``; ``alone``: a single value may also be sent by itself.

    Raises `NotAcceptableError` if the client accepts neither.
    """
    for each in media.accepted_media_ranges(request.http) or (MediaRange("*/*"),):
        if each.transfer_syntax not in _SYNTAXES or _OCTET_STREAM in each.refused:
            continue
        if each.type in (media.MULTIPART, "multipart/*") and (each.inner or "*/*") in _ANY:
            return True
        if each.type in _ANY and (alone or each.type in ("*/*", "*")):
            return not alone
    raise NotAcceptableError(
        f'Bulk data is available as {_OCTET_STREAM} or as {media.MULTIPART}; type="{_OCTET_STREAM}", '
        "and the Accept header allows neither."
        if alone
        else f'Several bulk data values are available only as {media.MULTIPART}; type="{_OCTET_STREAM}".'
    )


def value_pieces(value: BulkValue, start: int, length: int) -> Iterator[bytes]:
    """A range of a value, in pieces."""
    done = 0
    while done < length:
        piece = value.read(start + done, min(PIECE, length - done))
        if not piece:
            raise RuntimeError("a bulk value ended before its length")
        yield piece
        done += len(piece)


def _as_one_part(opening: bytes, value: BulkValue, closing: bytes) -> Iterator[bytes]:
    yield opening
    yield from value_pieces(value, 0, value.length)
    yield closing


def _as_parts(
    parts: Multipart, found: tuple[str, BulkValue], values: Iterator[tuple[str, BulkValue]]
) -> Iterator[bytes]:
    location, value = found
    yield parts.opening(_OCTET_STREAM, location, first=True)
    yield from value_pieces(value, 0, value.length)
    for location, value in values:
        yield parts.opening(_OCTET_STREAM, location)
        yield from value_pieces(value, 0, value.length)
    yield parts.closing
