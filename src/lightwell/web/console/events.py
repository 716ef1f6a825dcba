"""``events``: what has happened, for those who may see what it happened to."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from lightwell.errors import ValidationError
from lightwell.operations.console import pages
from lightwell.operations.console.events import KINDS, EventKind, ShownEvent, list_events, texts
from lightwell.web.console.route import Answer, Body, Call, Route

_MOST = 200
_ID = re.compile(r"[0-9a-z]{32}")
_ACTIONS: dict[EventKind, str] = {
    "datastore": "medical-imaging:GetDatastore",
    "job": "medical-imaging:GetDICOMImportJob",
    "imageset": "medical-imaging:GetImageSet",
}


class EventFilter(Body):
    """All that are given must hold. ``kinds``: datastore, job, imageset; ``types``: detail-types."""

    datastore_id: str | None = None
    image_set_id: str | None = None
    job_id: str | None = None
    kinds: list[EventKind] | None = None
    types: list[str] | None = None
    max_results: int = 50
    next_token: str | None = None


class Event(Answer):
    """``detail`` is that of docs/reference/events.md."""

    id: str
    time: str
    type: str
    kind: str
    detail: dict[str, object]


class Events(Answer):
    """A page may be short, or empty, although more follows: then there is a ``nextToken``."""

    events: list[Event]
    next_token: str | None
    kept_seconds: int


def search_events(call: Call) -> Events:
    """The events that the caller may see, newest first."""
    asked: EventFilter = call.body
    if not 1 <= asked.max_results <= _MOST:
        raise ValidationError(f"maxResults must be a number from 1 to {_MOST}.")
    for id in (asked.datastore_id, asked.image_set_id, asked.job_id):
        if id is not None and not _ID.fullmatch(id):
            raise ValidationError("The ids of data stores, image sets and jobs have 32 letters and digits.")
    unknown = [name for name in asked.types or () if name not in KINDS]
    if unknown:
        raise ValidationError(f"{unknown[0][:60]!r} is not a type of event. There are: {', '.join(KINDS)}.")
    note = call.ctx.note
    note.store, note.query = asked.datastore_id, _for_the_trail(asked)
    before = None if asked.next_token is None else pages.place(asked.next_token, int)[0]
    containing = texts(asked.datastore_id, asked.image_set_id, asked.job_id)
    found, following = list_events(call.ctx, containing, _wanted(call, asked), before, asked.max_results)
    note.found = len(found)
    for each in found:
        note.saw(each.detail.get("imagesetId"))
    return Events(
        events=[
            Event(id=each.id, time=each.time, type=each.type, kind=each.kind, detail=each.detail)
            for each in found
        ],
        next_token=None if following is None else pages.token([following]),
        kept_seconds=call.state.settings.keep_events,
    )


def _for_the_trail(asked: EventFilter) -> dict[str, str | list[str]]:
    """What is searched for. All of it is ids, kinds and types that were checked."""
    given: dict[str, str | list[str] | None] = {
        "datastoreId": asked.datastore_id,
        "imageSetId": asked.image_set_id,
        "jobId": asked.job_id,
        "kinds": None if asked.kinds is None else list(asked.kinds),
        "types": asked.types,
    }
    return {name: value for name, value in given.items() if value}


def _wanted(call: Call, asked: EventFilter) -> Callable[[ShownEvent], bool]:
    kinds, types = set(asked.kinds or _ACTIONS), set(asked.types or KINDS)
    known: dict[tuple[str, str, str], bool] = {}

    def may_see(event: ShownEvent) -> bool:
        if call.principal.policies is None:
            return True
        actions, action = call.state.access_control.actions, _ACTIONS[event.kind]
        store, image_set = event.detail["datastoreId"], event.detail.get("imagesetId", "")
        key = (event.kind, store, image_set)
        if key not in known:
            known[key] = call.allows(
                actions.image_sets(action.partition(":")[2], store, [image_set])
                if image_set
                else actions.datastore(action, store)
            )
        return known[key]

    return lambda event: event.kind in kinds and event.type in types and may_see(event)


ROUTES = (
    Route(
        "ConsoleSearchEvents",
        "POST",
        "events",
        search_events,
        None,
        body=msgspec.json.Decoder(EventFilter),
        action="shown is what the caller may see otherwise: data stores by `medical-imaging:GetDatastore`, "
        "jobs by `medical-imaging:GetDICOMImportJob`, image sets by `medical-imaging:GetImageSet`",
        says="The events of the last days, newest first, from the database: as many days as `keep_events` "
        "says, of all servers.",
    ),
)
