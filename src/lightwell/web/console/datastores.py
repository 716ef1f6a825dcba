"""``datastores/{datastoreId}/usage``: how much a data store holds."""

from __future__ import annotations

from lightwell.operations.console.usage import usage_of
from lightwell.web.console.route import Answer, Call, Route, iso, on_datastore


class UsageAnswer(Answer):
    """What a data store holds; see `stores.account.usage.Usage`."""

    image_sets: int
    studies: int
    instances: int
    frames: int
    pack_bytes: int
    original_bytes: int
    is_estimated: bool
    counted_at: str


async def usage(call: Call) -> UsageAnswer:
    """How much the data store holds, as counted some seconds ago."""
    counted = await call.usage_counts.get()
    used = await call.state.in_thread(usage_of, call.ctx, call.params["datastoreId"], counted)
    return UsageAnswer(
        image_sets=used.image_sets,
        studies=used.studies,
        instances=used.instances,
        frames=used.frames,
        pack_bytes=used.pack_bytes,
        original_bytes=used.original_bytes,
        is_estimated=used.is_estimated,
        counted_at=iso(counted.at),
    )


ROUTES = (
    Route(
        "ConsoleGetUsage",
        "GET",
        "datastores/{datastoreId}/usage",
        usage,
        on_datastore("medical-imaging:GetDatastore"),
        where="loop",
        action="medical-imaging:GetDatastore on the data store",
        says="What the data store holds: counts and bytes, some seconds old, estimated where there are too "
        "many rows to count in 2 s.",
    ),
)
