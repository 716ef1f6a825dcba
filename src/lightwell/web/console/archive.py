"""``datastores/{datastoreId}/archive``: image sets, primary or not, as DICOM files in one ZIP archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightwell.errors import ApiError, ValidationError
from lightwell.web.console.route import Call, Route
from lightwell.web.requests.responses import Response
from lightwell.web.requests.streams import start_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

_GET = "GetDICOMInstance"
_STUDY, _SERIES = "medical-imaging:studyinstanceuid", "medical-imaging:seriesinstanceuid"
_SYNTAXES = {"explicit": None, "stored": "*"}


async def archive(call: Call) -> Response:
    """The archive, made while it is sent."""
    pieces = await call.state.in_thread(_pieces, call)
    body = await start_stream(call.state.threads, pieces)
    return Response(
        200,
        [
            (b"content-type", b"application/zip"),
            (b"content-disposition", b'attachment; filename="dicom.zip"'),
        ],
        body,
    )


def _pieces(call: Call) -> Iterator[bytes]:
    # Loaded when first needed, since it brings the codecs.
    from lightwell.operations.dicomweb import archive as operation

    store = call.params["datastoreId"]
    syntax = call.query.get("syntax", "explicit")
    if syntax not in _SYNTAXES:
        raise ValidationError(f"syntax must be one of {', '.join(_SYNTAXES)}.")
    ids = [id for id in call.query.get("imageSetIds", "").split(",") if id]
    actions = call.state.access_control.actions
    try:
        sets = operation.find_sets(call.ctx, store, ids)
    except ApiError:
        # Who may read nothing learns nothing.
        call.check(actions.dicomweb(_GET, _GET, store, {}))
        raise
    for each in sets:
        context = {_STUDY: each.study_instance_uid, _SERIES: each.series_instance_uid}
        call.check(actions.dicomweb(_GET, _GET, store, context))
    return operation.archive_of_sets(call.ctx, sets, _SYNTAXES[syntax])


ROUTES = (
    Route(
        "ConsoleGetArchive",
        "GET",
        "datastores/{datastoreId}/archive",
        archive,
        None,
        query=("imageSetIds", "syntax"),
        where="loop",
        action="medical-imaging:GetDICOMInstance on the data store",
        says="Up to 150 image sets (imageSetIds: their ids with commas between) as DICOM files in one ZIP "
        "archive. syntax=stored leaves pixels as they are stored; without it they are uncompressed. A URL "
        "that is signed in its query works in a link. An archive that ends early has no directory at its "
        "end, and the connection is cut.",
    ),
)
