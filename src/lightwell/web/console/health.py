"""``health`` and ``metrics``: how the installation is, and the counters of the server that answers."""

from __future__ import annotations

from lightwell import __version__
from lightwell.auth.policies.actions import GET_METRICS
from lightwell.errors import LightwellError
from lightwell.operations.console.health import Health, health, server_name
from lightwell.web.console.route import Answer, Call, Route, on_any


class Check(Answer):
    """``code`` is ok, or what is wrong; ``reason`` is for people."""

    name: str
    code: str
    reason: str | None


class ServerShown(Answer):
    place: str
    role: str
    is_alive: bool
    heard_seconds: float


class WorkforceShown(Answer):
    """How many servers and workers work on jobs, how many servers do not, how many jobs are open."""

    working: int
    serving_only: int
    jobs: int


class Awaited(Answer):
    """A machine whose folders jobs wait for, and on which nothing works."""

    place: str | None
    jobs: int
    heard_seconds: float | None


class QueueDepth(Answer):
    phase: str
    state: str
    units: int
    oldest_seconds: float


class Installation(Answer):
    """``servers`` and ``workforce``: of PostgreSQL only; on SQLite there is one server."""

    database: str
    database_address: str
    database_bytes: int
    schema: str
    storage: str
    disk_free: int
    disk_total: int
    servers: list[ServerShown]
    workforce: WorkforceShown | None
    awaited: list[Awaited]
    queue: list[QueueDepth]


class HealthShown(Answer):
    """``installation`` is null, and ``message`` says why, where the database does not answer."""

    version: str
    server: str
    work: str
    is_ready: bool
    checks: list[Check]
    installation: Installation | None
    message: str | None


class Metrics(Answer):
    """``text`` is what /metrics shows of the server ``server``."""

    server: str
    text: str


async def get_health(call: Call) -> HealthShown:
    """Readiness with its reasons, servers, and what waits."""
    failures = await call.status.failures()
    installation, message = None, None
    try:
        installation = _installation(await call.state.in_thread(health, call.ctx))
    except LightwellError as error:
        message = str(error)
    return HealthShown(
        version=__version__,
        server=server_name(call.ctx),
        work=call.state.settings.work,
        is_ready=all(failure is None for failure in failures.values()),
        checks=[
            Check(
                name=name,
                code="ok" if failure is None else failure.code,
                reason=None if failure is None else failure.reason,
            )
            for name, failure in failures.items()
        ],
        installation=installation,
        message=message,
    )


def _installation(found: Health) -> Installation:
    return Installation(
        database=found.database,
        database_address=found.database_address,
        database_bytes=found.database_bytes,
        schema=found.schema,
        storage=found.storage,
        disk_free=found.disk_free,
        disk_total=found.disk_total,
        servers=[
            ServerShown(
                place=each.place, role=each.role, is_alive=each.is_alive, heard_seconds=each.heard_ms / 1000
            )
            for each in found.servers
        ],
        workforce=None
        if found.workforce is None
        else WorkforceShown(
            working=found.workforce.working,
            serving_only=found.workforce.serving_only,
            jobs=found.workforce.jobs,
        ),
        awaited=[
            Awaited(
                place=each.place,
                jobs=each.jobs,
                heard_seconds=None if each.unheard_ms is None else each.unheard_ms / 1000,
            )
            for each in found.awaited
        ],
        queue=[
            QueueDepth(
                phase=each.phase, state=each.state, units=each.units, oldest_seconds=each.oldest_ms / 1000
            )
            for each in found.queue
        ],
    )


def get_metrics(call: Call) -> Metrics:
    """The counters of the server that answers, all its processes together."""
    return Metrics(server=server_name(call.ctx), text=call.status.metrics().decode())


ROUTES = (
    Route(
        "ConsoleGetHealth",
        "GET",
        "health",
        get_health,
        on_any(GET_METRICS),
        where="loop",
        action="`cloudwatch:GetMetricData` on `*`",
        says="Whether the server is ready, and why not; database, storage and disk; servers and workers, as "
        "far as they register; units of work that wait.",
    ),
    Route(
        "ConsoleGetMetrics",
        "GET",
        "metrics",
        get_metrics,
        on_any(GET_METRICS),
        action="`cloudwatch:GetMetricData` on `*`",
        says="What `/metrics` shows, also behind a proxy that keeps that to itself; `server` tells one "
        "server from another behind the same address.",
    ),
)
