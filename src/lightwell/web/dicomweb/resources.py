"""The DICOMweb resources below ``/datastore/{id}``: paths and methods → operations.

Source: PS3.18 §10 (resources), AWS's dicomweb-* pages (the 13 operations of HealthImaging and their IAM
actions). What HealthImaging lacks is authorized, measured and throttled as the closest operation that it has.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from lightwell.errors import MethodNotAllowedError
from lightwell.wire.matching import decoded

ResourceKind = Literal[
    "bulkdata",
    "bulkdata-collection",
    "capabilities",
    "delete",
    "frames",
    "metadata",
    "part10",
    "pixeldata-collection",
    "rendered",
    "search",
    "series-frames",
    "store",
    "thumbnail",
    "wado-uri",
]
"""What is requested; each kind has a handler of its own (`web.dicomweb.dispatch`)."""

_ROOT = b"datastore"
_WADO_URI = re.compile(rb"(?:^|&)requestType=", re.IGNORECASE)


class DicomwebResource(NamedTuple):
    """One resource, requested with one method.

    ``operation`` is the API's name for it: it is counted, throttled and passed to an authorizer; ``action``
    is the IAM action without its prefix. ``kind`` selects the handler (`web.dicomweb.dispatch`). UIDs are
    percent-decoded but not yet checked; ``item`` is the frame list of ``frames`` or the hash of ``bulkdata``.
    """

    operation: str
    action: str
    kind: ResourceKind
    datastore_id: str
    study: str | None = None
    series: str | None = None
    instance: str | None = None
    item: str | None = None


# (operation, action)
_Names = tuple[str, str]
_INSTANCE = ("GetDICOMInstance", "GetDICOMInstance")
_FRAMES = ("GetDICOMInstanceFrames", "GetDICOMInstanceFrames")
_BULKDATA = ("GetDICOMBulkdata", "GetDICOMBulkdata")
_SERIES_METADATA = ("GetDICOMSeriesMetadata", "GetDICOMSeriesMetadata")
_DELETE = ("DeleteImageSet", "DeleteImageSet")

# Path after the data store, with S, E and I for UIDs and * for an item → method → kind and names.
PATHS: dict[str, dict[str, tuple[ResourceKind, _Names]]] = {
    "": {
        "GET": ("wado-uri", _INSTANCE),
        "OPTIONS": ("capabilities", ("SearchDICOMStudies", "SearchDICOMStudies")),
    },
    "studies": {
        "GET": ("search", ("SearchDICOMStudies", "SearchDICOMStudies")),
        "POST": ("store", ("StoreDICOM", "StoreDICOM")),
    },
    "series": {"GET": ("search", ("SearchDICOMAllSeries", "SearchDICOMSeries"))},
    "instances": {"GET": ("search", ("SearchDICOMAllInstances", "SearchDICOMInstances"))},
    "studies/S": {
        "GET": ("part10", _INSTANCE),
        "POST": ("store", ("StoreDICOMStudy", "StoreDICOMStudy")),
        "DELETE": ("delete", _DELETE),
    },
    "studies/S/metadata": {"GET": ("metadata", _SERIES_METADATA)},
    "studies/S/series": {"GET": ("search", ("SearchDICOMSeries", "SearchDICOMSeries"))},
    "studies/S/instances": {"GET": ("search", ("SearchDICOMStudyInstances", "SearchDICOMInstances"))},
    "studies/S/series/E": {"GET": ("part10", _INSTANCE), "DELETE": ("delete", _DELETE)},
    "studies/S/series/E/metadata": {"GET": ("metadata", _SERIES_METADATA)},
    "studies/S/series/E/frames": {"GET": ("series-frames", _FRAMES)},
    "studies/S/series/E/instances": {"GET": ("search", ("SearchDICOMInstances", "SearchDICOMInstances"))},
    "studies/S/series/E/instances/I": {"GET": ("part10", _INSTANCE), "DELETE": ("delete", _DELETE)},
    "studies/S/series/E/instances/I/metadata": {
        "GET": ("metadata", ("GetDICOMInstanceMetadata", "GetDICOMInstanceMetadata"))
    },
    "studies/S/series/E/instances/I/frames/*": {"GET": ("frames", _FRAMES)},
    "studies/S/series/E/instances/I/frames/*/rendered": {"GET": ("rendered", _FRAMES)},
    "studies/S/series/E/instances/I/frames/*/thumbnail": {"GET": ("thumbnail", _FRAMES)},
    "studies/S/series/E/instances/I/bulkdata/*": {"GET": ("bulkdata", _BULKDATA)},
}
for _level in ("studies/S", "studies/S/series/E", "studies/S/series/E/instances/I"):
    PATHS[f"{_level}/rendered"] = {"GET": ("rendered", _FRAMES)}
    PATHS[f"{_level}/thumbnail"] = {"GET": ("thumbnail", _FRAMES)}
    PATHS[f"{_level}/bulkdata"] = {"GET": ("bulkdata-collection", _BULKDATA)}
    PATHS[f"{_level}/pixeldata"] = {"GET": ("pixeldata-collection", _FRAMES)}

OPERATIONS = tuple(sorted({names[0] for of in PATHS.values() for _, names in of.values()}))
"""All operations that a resource may have."""

_FIRST = {path.partition("/")[0].encode() for path in PATHS if path}
_AFTER = {b"studies": "S", b"series": "E", b"instances": "I", b"frames": "*", b"bulkdata": "*"}


def resource(method: str, raw_path: bytes, query: bytes = b"") -> DicomwebResource | None:
    """The resource at a path, still percent-encoded; None if it is not a DICOMweb resource.

    Raises `MethodNotAllowedError` if it does not support the method. HEAD is GET without its body.
    """
    segments = raw_path.split(b"/")
    if len(segments) < 3 or segments[0] or segments[1] != _ROOT:
        return None
    if segments[-1] == b"" and len(segments) > 3:
        segments.pop()
    rest = segments[3:]
    # Other paths belong to the native API, and so does the data store itself, but for WADO-URI and
    # capabilities.
    if rest and rest[0] not in _FIRST:
        return None
    if not rest and method != "OPTIONS" and not (method in ("GET", "HEAD") and _WADO_URI.search(query)):
        return None
    pattern, labels = _pattern(rest)
    methods = PATHS.get(pattern)
    if methods is None:
        return None
    found = methods.get("GET" if method == "HEAD" else method)
    if found is None:
        allowed = ", ".join(sorted({*methods, "HEAD"} if "GET" in methods else methods))
        raise MethodNotAllowedError(f"This resource supports {allowed}, not {method}.", allowed)
    kind, (operation, action) = found
    return DicomwebResource(
        operation,
        action,
        kind,
        decoded(segments[2]),
        labels.get("S"),
        labels.get("E"),
        labels.get("I"),
        labels.get("*"),
    )


def _pattern(rest: list[bytes]) -> tuple[str, dict[str, str]]:
    """The path with letters in place of its labels, and the labels."""
    parts: list[str] = []
    labels: dict[str, str] = {}
    expected = ""
    for segment in rest:
        if expected:
            labels[expected] = decoded(segment)
            parts.append(expected)
            expected = ""
        else:
            parts.append(segment.decode("ascii", "replace"))
            expected = _AFTER.get(segment, "")
    return "/".join(parts), labels
