"""``POST /datastore/{datastoreId}/imageSet/{imageSetId}/getImageFrames``: many frames at once.

An extension, in the spirit of GetImageFrame, whose IAM action it needs; it is authorized, counted and
throttled as that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from lightwell.errors import ValidationError
from lightwell.operations.context import Caller
from lightwell.operations.frame_lists import frame_list
from lightwell.operations.frame_lists.cuts import MOST_LEVELS
from lightwell.operations.frame_lists.frame_list import FrameList, ListedFrame, Selection
from lightwell.operations.frame_lists.reading import sent_frames
from lightwell.web.requests.packed_frames import MEDIA_TYPE, packed
from lightwell.web.requests.request import Request
from lightwell.web.requests.responses import Response
from lightwell.web.requests.state import AppState
from lightwell.web.requests.streams import FIRST, start_stream
from lightwell.wire.body import read_body
from lightwell.wire.matching import decoded

OPERATION = "GetImageFrame"
LAST_SEGMENT = b"/getImageFrames"


class GetImageFramesRequest(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The JSON body; see `Selection`."""

    level: Annotated[int, msgspec.Meta(ge=0, le=MOST_LEVELS)] | None = None
    version_id: str | None = None
    image_frame_ids: Annotated[list[str], msgspec.Meta(min_length=1)] | None = None
    frames: str | None = None
    first: int | str | None = None
    uncut: Literal["whole", "omit"] = "whole"


_decode = msgspec.json.Decoder(GetImageFramesRequest).decode


def image_set_of(request: Request) -> dict[str, str] | None:
    """The labels of the path, as GetImageFrame has them; None if it is another path."""
    segments = request.path.split(b"/")
    if (
        request.method != "POST"
        or len(segments) != 6
        or (segments[0], segments[1], segments[3]) != (b"", b"datastore", b"imageSet")
    ):
        return None
    return {"datastoreId": decoded(segments[2]), "imageSetId": decoded(segments[4])}


async def serve_frames(
    state: AppState, request: Request, caller: Caller, params: dict[str, str], body: bytes
) -> Response:
    """Raises `ValidationError` for a malformed request, `NotFoundError` if the image set, its version or a
    frame does not exist, `InternalError` or `UnavailableError` if what is stored cannot be read.
    """
    wanted = _parsed(body)
    selection = Selection(wanted.level, wanted.frames, wanted.image_frame_ids, wanted.first, wanted.uncut)
    ctx = state.context(caller, request)

    def find() -> tuple[FrameList, int, Iterator[ListedFrame]]:
        named = params["datastoreId"], params["imageSetId"]
        found = frame_list.of_image_set(ctx, *named, wanted.version_id)
        count, listed = found.choose(state.frames, selection, any_version=wanted.version_id is None)
        return found, count, listed

    found, count, listed = await state.in_thread(find)
    frames = sent_frames(state.instance_frames, listed, selection.level, selection.uncut)
    pieces = packed(found, selection.level, count, frames)
    return Response(
        200,
        [(b"content-type", MEDIA_TYPE.encode())],
        await start_stream(state.threads, pieces, FIRST),
    )


def _parsed(body: bytes) -> GetImageFramesRequest:
    body = body or b"{}"
    read_body(body)
    try:
        found = _decode(body)
    except msgspec.ValidationError as error:
        raise ValidationError(f"The request body is wrong: {error}.") from None
    if found.version_id is not None and not (found.version_id.isascii() and found.version_id.isdigit()):
        raise ValidationError(f"versionId {found.version_id[:40]!r} is not a version: versions are numbers.")
    return found
