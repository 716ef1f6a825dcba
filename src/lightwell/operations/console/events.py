"""The events of the last days, newest first: as they were delivered, read from the database.

A server's ``events.ndjson`` has only what that server delivered. The rows of the outbox are kept for some
days after delivery (the setting ``keep_events``), whichever server delivered them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal, get_args

from lightwell.domain.events import DatastoreEventType, ImageSetEventType, ImportJobEventType
from lightwell.operations.context import Context
from lightwell.stores.background import outbox

EventKind = Literal["datastore", "job", "imageset"]
KINDS: dict[str, EventKind] = {
    **{name: "datastore" for name in get_args(DatastoreEventType)},
    **{name: "job" for name in get_args(ImportJobEventType)},
    **{name: "imageset" for name in get_args(ImageSetEventType)},
}
"""What each type of event is about."""

_SPAN = 20_000
_ROWS = 500
_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """One event; ``detail`` as EventBridge carries it."""

    id: str
    time: str
    type: str
    kind: EventKind
    detail: dict[str, Any]


def list_events(
    ctx: Context,
    containing: Sequence[str],
    is_wanted: Callable[[ShownEvent], bool],
    before: int | None,
    limit: int,
) -> tuple[list[ShownEvent], int | None]:
    """At most ``limit`` events that are wanted, newest first, of those below the number ``before``.

    The JSON of each contains these texts. The second is where to go on, None at the end. After a second and a
    half it answers what it has found: a page may be short, or empty, although more follows.
    """
    found: list[ShownEvent] = []
    ends, following = monotonic() + _SECONDS, before
    while True:
        with ctx.stores.db.read() as conn:
            rows, following = outbox.newest(conn, following, _SPAN, _ROWS, containing)
        for row in rows:
            event = _shown(row.event)
            if event is None or not is_wanted(event):
                continue
            found.append(event)
            if len(found) == limit:
                return found, row.number
        if following is None or monotonic() > ends:
            return found, following


def texts(datastore_id: str | None, image_set_id: str | None, job_id: str | None) -> list[str]:
    """What the JSON of events about these contains; ids are of hex digits and letters only."""
    pairs = (("datastoreId", datastore_id), ("imagesetId", image_set_id), ("jobId", job_id))
    return [f'"{name}":"{id}"' for name, id in pairs if id is not None]


def _shown(text: str) -> ShownEvent | None:
    event = json.loads(text)
    kind = KINDS.get(event["detail-type"])
    if kind is None:
        return None
    return ShownEvent(event["id"], event["time"], event["detail-type"], kind, event["detail"])
