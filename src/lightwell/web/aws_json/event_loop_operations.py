"""Operations that run on the event loop itself: switching to a thread would cost more than they do.

Each is ``(state, request, path labels, body) -> Response``, parses its own request and may raise `ApiError`.
None means that the operation has to be called in a thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from lightwell.web.aws_json.get_image_frame import serve_frame
from lightwell.web.aws_json.get_image_set_metadata import serve_warm_metadata
from lightwell.web.requests.request import Request
from lightwell.web.requests.responses import Response
from lightwell.web.requests.state import AppState

EventLoopOperation = Callable[[AppState, Request, dict[str, str], bytes], Awaitable[Response | None]]

EVENT_LOOP_OPERATIONS: dict[str, EventLoopOperation] = {
    "GetImageFrame": serve_frame,
    "GetImageSetMetadata": serve_warm_metadata,
}
