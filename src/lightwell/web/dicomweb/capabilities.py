"""The capabilities of a data store's DICOMweb service (PS3.18 §8.9), as JSON or as the standard's WADL."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

from lightwell.operations.dicomweb.lookup import check_ids
from lightwell.web.dicomweb import media, resources
from lightwell.web.dicomweb.media import DICOM_JSON, DICOM_XML, JSON, MULTIPART
from lightwell.web.dicomweb.resources import ResourceKind
from lightwell.web.requests.packed_frames import MEDIA_TYPE as PACKED
from lightwell.web.requests.responses import Response

if TYPE_CHECKING:
    from lightwell.web.dicomweb.dispatch import DicomwebRequest

WADL = "application/vnd.sun.wadl+xml"
_NAMESPACE = "http://wadl.dev.java.net/2009/02"
_LABELS = {"S": "{study}", "E": "{series}", "I": "{instance}", "*": "{item}"}
_FRAME_TYPES = (
    "application/octet-stream",
    "image/jphc",
    "image/jp2",
    "image/jpeg",
    "image/jls",
    "image/dicom-rle",
    "image/jxl",
    "video/*",
)
_PICTURES = ("image/jpeg", "image/png", "image/gif")
_RENDERED = (*_PICTURES, "text/html", "text/plain", "text/xml", "application/pdf", "video/mp4", "video/mpeg")
_JSON_TYPES = (DICOM_JSON, JSON, f'{MULTIPART}; type="{DICOM_XML}"')
_TYPES: dict[ResourceKind, tuple[str, ...]] = {
    "part10": (f'{MULTIPART}; type="application/dicom"', "application/dicom"),
    "frames": (*(f'{MULTIPART}; type="{kind}"' for kind in _FRAME_TYPES), *_FRAME_TYPES),
    "series-frames": (PACKED, *(f'{MULTIPART}; type="{kind}"' for kind in _FRAME_TYPES)),
    "pixeldata-collection": tuple(f'{MULTIPART}; type="{kind}"' for kind in _FRAME_TYPES),
    "bulkdata": ("application/octet-stream", f'{MULTIPART}; type="application/octet-stream"'),
    "bulkdata-collection": (f'{MULTIPART}; type="application/octet-stream"',),
    "metadata": _JSON_TYPES,
    "search": _JSON_TYPES,
    "store": (DICOM_JSON, JSON),
    "rendered": _RENDERED,
    "thumbnail": _PICTURES,
    "wado-uri": ("application/dicom", *_RENDERED),
    "capabilities": (JSON, WADL),
}


async def capabilities(request: DicomwebRequest) -> Response:
    """Every resource with its methods and media types, as JSON unless the client asks for WADL.

    Raises `ValidationError` for a malformed data store id.
    """
    check_ids(request.resource.datastore_id)
    resources_found = describe_resources()
    base = media.base_url(request.http, request.state.settings)
    for each in media.accepted_media_ranges(request.http):
        if each.type in (JSON, "*/*", "application/*", "*"):
            break
        if each.type in (WADL, "application/xml", "text/xml"):
            return _response(WADL, _wadl(base, resources_found).encode())
    return _response(JSON, json.dumps({"base": base, "resources": resources_found}).encode())


def describe_resources() -> list[dict[str, Any]]:
    """The path, methods, operations and media types of every resource."""
    resources_found = []
    for path, methods in resources.PATHS.items():
        template = "/".join(_LABELS.get(part, part) for part in path.split("/"))
        listed = [
            {"name": method, "operation": names[0], "mediaTypes": list(_TYPES.get(kind, ()))}
            for method, (kind, names) in methods.items()
        ]
        resources_found.append({"path": f"/{template}" if template else "", "methods": listed})
    return resources_found


def _response(kind: str, body: bytes) -> Response:
    headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body)), (b"vary", b"accept")]
    return Response(200, headers, body)


def _wadl(base: str, resources_found: list[dict[str, Any]]) -> str:
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<application xmlns={quoteattr(_NAMESPACE)}>",
        f"<resources base={quoteattr(base)}>",
    ]
    for each in resources_found:
        lines.append(f"<resource path={quoteattr(each['path'].lstrip('/'))}>")
        for method in each["methods"]:
            lines.append(f"<method name={quoteattr(method['name'])} id={quoteattr(method['operation'])}>")
            lines.append('<response status="200">')
            lines += [f"<representation mediaType={quoteattr(kind)}/>" for kind in method["mediaTypes"]]
            lines.append("</response></method>")
        lines.append("</resource>")
    lines.append("</resources></application>\n")
    return "\n".join(lines)
