"""Bulk data of instances, one value or all of them (WADO-RS).

Source: PS3.18 §10.4 and §8.7.3.3.1, AWS's dicom-retrieve-bulkdata page. Multipart answers, byte ranges,
conditions and the collections of an instance, a series and a study are extensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from lightwell.errors import NotAcceptableError, NotFoundError
from lightwell.operations.dicomweb import bulkdata as dicomweb_bulkdata
from lightwell.operations.dicomweb import metadata
from lightwell.web.dicomweb import media, ranges
from lightwell.web.dicomweb.metadata import wanted_by
from lightwell.web.dicomweb.multipart import Multipart
from lightwell.web.dicomweb.streams import PIECE, begun
from lightwell.web.requests.negotiation import MediaRange
from lightwell.web.requests.responses import Headers, Response

if TYPE_CHECKING:
    from lightwell.imaging.instances.bulk_values import BulkValue
    from lightwell.web.dicomweb.dispatch import DicomwebRequest

_OCTETS = "application/octet-stream"
_ANY = (_OCTETS, "application/*", "*/*", "*")
# Values are always in little endian order, which is what the default transfer syntax says.
_SYNTAXES = (None, "*", "1.2.840.10008.1.2.1")


async def bulkdata(visit: DicomwebRequest) -> Response:
    """One value, in bounded memory whatever its size."""
    state, request = visit.state, visit.request
    in_parts = _is_multipart(visit, alone=True)
    wanted = wanted_by(visit)
    find = partial(dicomweb_bulkdata.find, state.context(visit.caller), wanted, visit.resource.item or "")
    tag, value = await state.in_thread(find)
    # The boundary between parts is another each time, so what is in parts is only equivalent.
    etag = f'{"W/" if in_parts else ""}"{tag}"'.encode()
    if ranges.is_known(request, etag):
        return ranges.not_modified(etag)
    headers: Headers = [(b"etag", etag), (b"vary", b"accept")]
    if in_parts:
        parts = Multipart(request.id)
        suffix = f"?imageSetId={wanted.image_set_id}" if wanted.image_set_id else ""
        location = f"{wanted.base}{request.path.decode('latin-1').partition(wanted.datastore_id)[2]}{suffix}"
        opening = parts.opening(_OCTETS, location, first=True)
        length = len(opening) + value.length + len(parts.closing)
        headers += [
            (b"content-type", parts.content_type(_OCTETS)),
            (b"content-length", b"%d" % length),
        ]
        pieces = _in_part(opening, value, parts.closing)
        return Response(200, headers, await begun(state.threads, pieces))
    span = ranges.span(request, value.length, etag)
    if span is None:
        return ranges.unsatisfiable(value.length)
    headers += [(b"content-type", _OCTETS.encode()), *span.headers()]
    pieces = _pieces(value, span.start, span.length)
    return Response(span.status, headers, await begun(state.threads, pieces))


async def collection(visit: DicomwebRequest) -> Response:
    """All values of a study, a series or an instance, each a part that says where it lies."""
    state = visit.state
    _is_multipart(visit, alone=False)
    wanted = wanted_by(visit)
    ctx = state.context(visit.caller)

    def first() -> tuple[tuple[str, BulkValue] | None, Iterator[tuple[str, BulkValue]]]:
        values = dicomweb_bulkdata.collect(ctx, wanted, metadata.find(ctx, wanted))
        return next(values, None), values

    found, values = await state.in_thread(first)
    if found is None:
        raise NotFoundError("There is no bulk data: the metadata hold every value.")
    parts = Multipart(visit.request.id)
    headers: Headers = [(b"content-type", parts.content_type(_OCTETS)), (b"vary", b"accept")]
    return Response(200, headers, await begun(state.threads, _all(parts, found, values)))


def _is_multipart(visit: DicomwebRequest, *, alone: bool) -> bool:
    """Whether the answer is to come in parts; ``alone``: it may come without.

    Raises `NotAcceptableError` where the client takes no form that there is.
    """
    for each in media.wanted(visit.request) or (MediaRange("*/*"),):
        if each.transfer_syntax not in _SYNTAXES:
            continue
        if each.type in (media.MULTIPART, "multipart/*") and (each.inner or "*/*") in _ANY:
            return True
        if each.type in _ANY and (alone or each.type in ("*/*", "*")):
            return not alone
    raise NotAcceptableError(
        f'Bulk data come as {_OCTETS} or as {media.MULTIPART}; type="{_OCTETS}"; '
        "the Accept header takes neither."
        if alone
        else f'Bulk data of several values come as {media.MULTIPART}; type="{_OCTETS}".'
    )


def _pieces(value: BulkValue, start: int, length: int) -> Iterator[bytes]:
    done = 0
    while done < length:
        piece = value.read(start + done, min(PIECE, length - done))
        if not piece:
            raise RuntimeError("a bulk value ended before its length")
        yield piece
        done += len(piece)


def _in_part(opening: bytes, value: BulkValue, closing: bytes) -> Iterator[bytes]:
    yield opening
    yield from _pieces(value, 0, value.length)
    yield closing


def _all(
    parts: Multipart, found: tuple[str, BulkValue], values: Iterator[tuple[str, BulkValue]]
) -> Iterator[bytes]:
    location, value = found
    yield parts.opening(_OCTETS, location, first=True)
    yield from _pieces(value, 0, value.length)
    for location, value in values:
        yield parts.opening(_OCTETS, location)
        yield from _pieces(value, 0, value.length)
    yield parts.closing
