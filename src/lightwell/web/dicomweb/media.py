"""Which media types a DICOMweb client accepts, and its query parameters. Pure functions.

Source: PS3.18 §8.3.3 (query parameters), §8.7 (media types), RFC 9110 §12.5.1.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from lightwell.errors import NotAcceptableError, ValidationError
from lightwell.settings import Settings
from lightwell.web.requests.negotiation import MediaRange, accept_header, media_ranges, without_refused
from lightwell.web.requests.request import Request

DICOM_JSON, JSON, DICOM_XML = "application/dicom+json", "application/json", "application/dicom+xml"
MULTIPART = "multipart/related"

_HOST = re.compile(rb"[A-Za-z0-9._~%-]+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?")
_LONGEST = 8 << 10


def accepted_media_ranges(request: Request) -> tuple[MediaRange, ...]:
    """What the client accepts, the best first; empty if it does not say, so that anything will do.

    The query parameter ``accept``, if given, replaces the header (PS3.18 §8.3.3.1).
    """
    if b"accept=" in request.query:
        values = [value for name, value in query_parameters(request) if name == "accept" and value.strip()]
        if values:
            # The + of a type that was not percent-encoded has become a space.
            return by_preference(", ".join(re.sub(r"(?<=\w) (?=\w)", "+", value) for value in values))
    if b"accept" not in request.head:
        return ()
    return by_preference(accept_header(request.headers) or "")


@lru_cache(256)
def by_preference(accept: str) -> tuple[MediaRange, ...]:
    """The alternatives of an Accept header, by ``q``, then in their order, without those of ``q`` 0.

    Raises `NotAcceptableError` if all of its alternatives have ``q`` 0: refusing everything is not the same
    as leaving the choice open.
    """
    if len(accept) > _LONGEST:
        raise ValidationError(f"The Accept header is longer than {_LONGEST} characters.")
    found = media_ranges(accept)
    accepted = without_refused(found)
    if found and not accepted:
        raise NotAcceptableError(
            "The Accept header refuses every media type that it names: give one of them a q from 0.001 to 1, "
            "or leave the header out."
        )
    return accepted


def json_type(request: Request) -> str:
    """`DICOM_JSON`, `JSON` or `DICOM_XML` (which is sent as `MULTIPART`), whichever the client prefers.

    Raises `NotAcceptableError` if it accepts none of them.
    """
    alternatives = accepted_media_ranges(request)
    if not alternatives:
        return DICOM_JSON
    for each in alternatives:
        kind = (each.inner or "*/*") if each.type == MULTIPART else each.type
        if kind in ("*/*", "application/*", "*"):
            # A client that accepts any multipart type does not get JSON, which is never sent as multipart.
            offered = (DICOM_XML,) if each.type == MULTIPART else (DICOM_JSON, JSON, DICOM_XML)
            found = next((name for name in offered if name not in each.refused), None)
            if found is not None:
                return found
        if kind == DICOM_JSON:
            return DICOM_JSON
        if kind == JSON:
            return JSON
        if kind == DICOM_XML:
            return DICOM_XML
    raise NotAcceptableError(
        f"Metadata and search results are available as {DICOM_JSON}, {JSON} or "
        f'{MULTIPART}; type="{DICOM_XML}", and the Accept header allows none of them.'
    )


def warning(text: str) -> bytes:
    """The value of a Warning header (PS3.18 §8.4.3)."""
    return f'299 lightwell "{text}"'.encode("ascii", "replace")


def query_parameters(request: Request) -> list[tuple[str, str]]:
    """The names and values of the query string, decoded as a form (``+`` is a space).

    Raises `ValidationError` if it is not UTF-8.
    """
    pairs = []
    for pair in request.query.split(b"&"):
        if pair:
            name, _, value = pair.partition(b"=")
            pairs.append((_text(name), _text(value)))
    return pairs


def query_parameter(request: Request, name: str) -> str | None:
    """The value of a query parameter, None without it. Raises `ValidationError` if it is repeated."""
    if name.encode() not in request.query:
        return None
    values = [value for key, value in query_parameters(request) if key == name]
    if len(values) > 1:
        raise ValidationError(f"The query parameter {name} is given {len(values)} times: give it once.")
    return values[0] if values else None


def base_url(request: Request, settings: Settings) -> str:
    """The URL of the request's data store, up to and including its id, as the client can reach it.

    It is built from the setting ``public_url``, or else from the Host that the client itself has sent.
    """
    store = _text(request.path.split(b"/")[2])
    if settings.public_url:
        return f"{settings.public_url.rstrip('/')}/datastore/{store}"
    host = request.head.get(b"host", b"")
    if not _HOST.fullmatch(host):
        address, port = request.scope.get("server") or ("127.0.0.1", settings.port)
        host = (f"[{address}]:{port}" if ":" in address else f"{address}:{port}").encode()
    return f"{request.scope.get('scheme', 'http')}://{host.decode('ascii')}/datastore/{store}"


def _text(encoded: bytes) -> str:
    try:
        if b"%" in encoded or b"+" in encoded:
            encoded = unquote_to_bytes(encoded.replace(b"+", b" "))
        return encoded.decode("utf-8")
    except UnicodeDecodeError:
        raise ValidationError("The query string is not UTF-8.") from None
