"""The composition root: settings → stores → authentication → ASGI application. All wiring is here."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from lightwell.auth.administration.administration import Administration
from lightwell.auth.authentication import Authenticator
from lightwell.auth.authorization import AccessControl
from lightwell.auth.data_access_role import DataAccessRoles, open_data_access_roles
from lightwell.auth.key_sessions import KeySessions
from lightwell.auth.principals import Principals
from lightwell.auth.roles import Roles
from lightwell.auth.secret_box import SecretBox, open_secret_box
from lightwell.auth.sessions import Sessions
from lightwell.clock import Clock, Ids
from lightwell.codec_pool.client import CodecPoolClient
from lightwell.domain.arn import root_arn
from lightwell.domain.events import EventHeader, emergency_event, unverified_event
from lightwell.errors import LightwellError
from lightwell.observe.audit.masking import QueryMask
from lightwell.observe.audit.trail import AuditTrail
from lightwell.observe.metrics import Meter, Recorder
from lightwell.operations.authorizers import AuthorizerBindings
from lightwell.process_death import REFUSED
from lightwell.settings import Settings
from lightwell.stores import Stores, open_stores
from lightwell.stores.account.principals import AccessKey
from lightwell.stores.background import outbox
from lightwell.stores.background.records import BackgroundRecords, Debtor
from lightwell.stores.background.servers import Server
from lightwell.stores.data_folder import uploads
from lightwell.stores.data_folder.audit_folder import AuditFolder
from lightwell.stores.data_folder.node import Node
from lightwell.stores.db.errors import tell as tell_of_misplaced
from lightwell.stores.db.schema import schema_state
from lightwell.stores.integrity.damage_reports import DamageReports
from lightwell.stores.objects import checked_reads
from lightwell.stores.objects.shared_blocks import SharedBlocks
from lightwell.web.authorizers.bearer_authentication import BearerAuthentication
from lightwell.web.authorizers.federation import Federation
from lightwell.web.authorizers.viewer_sessions import ViewerSessions
from lightwell.web.console.table import OPERATIONS as CONSOLE
from lightwell.web.dicomweb.resources import OPERATIONS as DICOMWEB
from lightwell.web.gateway import Gateway
from lightwell.web.requests.failed_proofs import Alarm, FailedProofs
from lightwell.web.requests.rates import AWS_RATES
from lightwell.web.requests.request import OTHERS
from lightwell.web.requests.shared_buckets import SharedBuckets
from lightwell.web.requests.state import AppState, ReadinessCheck, ReadinessFailure
from lightwell.web.requests.throttle import Throttle
from lightwell.web.sts import OPERATIONS as STS
from lightwell.wire.routes import ROUTES
from lightwell.work import s3_check
from lightwell.work.audit_forwarding.start import begin_forwarding
from lightwell.work.audit_upkeep import AuditUpkeep
from lightwell.work.collector import Collector
from lightwell.work.engine import Engine, EngineOptions
from lightwell.work.engine_lock import EngineLock
from lightwell.work.owed_records import owed_records
from lightwell.work.queue_gauges import keep_measuring
from lightwell.work.request_pool import RequestPool
from lightwell.work.server_heartbeat import ServerHeartbeat

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.auth.builtin_authorizer import BuiltinAuthorizer
    from lightwell.auth.viewer_token import ViewerTokens
    from lightwell.web.http1.status_server import StatusServer

log = logging.getLogger("lightwell.work")

# As many as the database has connections (`Database(pool=…)`), so that no thread waits for one.
THREADS = 8

_LOCK_SECONDS = 0.5
# Less than `cli.server.supervisor` grants: while HTTP processes finish, they still use codec workers.
_LINGER_SECONDS = 18.0
# Threads that wait for codec workers, one per request.
_WAITERS = 64

# Threads that look up keys, roles and data stores of requests whose sender is not certain yet.
_LOOKUPS = 2

# Threads that encode frames on request: large ones take seconds and several times their size in memory.
_ENCODERS = 2

_SCHEMA = "the database schema is older than this lightwell: run `lightwell data migrate`"


def meter(processes: int) -> Meter:
    """The counters of a server with this many processes; created before they are forked."""
    return Meter(dict.fromkeys([*ROUTES, *DICOMWEB, *STS, *CONSOLE, *OTHERS]), processes)


def throttle(settings: Settings) -> Throttle | None:
    """The token buckets of a server, None if nothing is throttled; created before it forks."""
    return Throttle(AWS_RATES) if settings.throttle == "aws" else None


def shared_buckets(settings: Settings) -> SharedBuckets | None:
    """The token buckets of addresses, keys and callers, None if none are used; created before it forks."""
    return SharedBuckets() if settings.failed_proofs or settings.throttle_principal else None


def shared_blocks(settings: Settings) -> SharedBlocks | None:
    """In what the processes of a server hand each other what they read from S3; created before it forks."""
    return SharedBlocks() if settings.storage.startswith("s3:") and settings.http_workers > 1 else None


def build(
    settings: Settings,
    recorder: Recorder | None = None,
    throttle: Throttle | None = None,
    shared: SharedBlocks | None = None,
    trail: AuditTrail | None = None,
    buckets: SharedBuckets | None = None,
) -> Gateway:
    """The ASGI application of one process. Nothing is opened until the first request needs it.

    Without a ``trail`` nothing is on record: for tests of other things.
    """
    recorder = recorder or meter(1).join(0)
    stores = open_stores(settings, recorder.count, shared)
    reports = _tell_of_damage(settings, stores)
    uploads.sweep(stores.spool)
    secret_box = open_secret_box(settings.read_secret_key(), settings.data)
    roles = Roles(stores.db, settings.account_id, settings.region)
    access_control = AccessControl(stores.db, settings.region, settings.account_id)
    bindings = AuthorizerBindings(stores.db, settings.region, settings.account_id)
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="lightwell-operation")
    lookups = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="lightwell-lookup")
    waiters = ThreadPoolExecutor(_WAITERS, thread_name_prefix="lightwell-waiter")
    principals = Principals(stores.db, secret_box, settings.account_id, settings.region)
    return Gateway(
        AppState(
            settings=settings,
            stores=stores,
            clock=Clock(),
            ids=Ids(),
            authenticator=Authenticator(principals, stores.key_uses.note),
            access_control=access_control,
            data_access_roles=DataAccessRoles(
                roles, settings.region, settings.account_id, settings.s3_endpoint_url
            ),
            sessions=Sessions(
                stores.db,
                secret_box,
                roles,
                access_control,
                settings.account_id,
                partial(_announce_emergency, settings),
            ),
            key_sessions=KeySessions(stores.db, secret_box),
            federation=Federation(settings),
            bearer_authentication=BearerAuthentication(
                settings,
                bindings,
                roles,
                lookups,
                partial(_builtin_authorizer, settings, secret_box),
                ViewerSessions(
                    principals,
                    lookups,
                    partial(_viewer_tokens, settings, secret_box),
                    settings.authorizer_leeway,
                ),
            ),
            administration=Administration(stores.db, secret_box, settings.region, settings.account_id),
            recorder=recorder,
            threads=threads,
            lookups=lookups,
            pool=CodecPoolClient(settings.data, exists=settings.pool == "own"),
            waiters=waiters,
            encoders=ThreadPoolExecutor(_ENCODERS, thread_name_prefix="lightwell-encoder"),
            checks=_checks(stores, trail),
            failed_proofs=FailedProofs(
                buckets,
                settings.failed_proofs,
                recorder.count,
                lambda alarm: _in_background(waiters, _report, stores, settings, alarm),
            ),
            throttle=throttle,
            trail=trail,
            mask=QueryMask(settings.audit_mask, secret_box.derive("lightwell-audit-queries")),
            buckets=buckets,
            damage=reports,
        )
    )


def _in_background(threads: ThreadPoolExecutor, call: Callable[..., None], *arguments: object) -> None:
    threads.submit(call, *arguments)


def _report(stores: Stores, settings: Settings, alarm: Alarm) -> None:
    """Make an event of too many requests that could not be verified."""
    header = _header(settings)
    detail = {name: value for name, value in asdict(alarm).items() if value is not None}
    event = unverified_event(header, detail, root_arn(settings.account_id))
    try:
        stores.db.write(lambda conn: outbox.append(conn, event))
    except LightwellError as error:
        log.warning("no event tells of requests that fail verification: %s", error)


def _announce_emergency(settings: Settings, conn: Connection, session: AccessKey) -> None:
    """Make an event of a role for emergencies that is taken."""
    assert session.role is not None and session.expires_at is not None
    person = None if session.provider is None else f"{session.provider}#{session.subject}"
    event = emergency_event(
        _header(settings),
        role=session.role,
        access_key_id=session.id,
        taken_by=session.taken_by or person,
        expires_at=session.expires_at,
    )
    outbox.append(conn, event)


def _header(settings: Settings, datastore_id: str = "") -> EventHeader:
    return EventHeader(
        id=Ids().id(),
        now=Clock().now(),
        region=settings.region,
        account=settings.account_id,
        datastore_id=datastore_id,
    )


def _tell_of_damage(settings: Settings, stores: Stores) -> DamageReports:
    reports = DamageReports(stores.db, Clock().now, partial(_header, settings))
    checked_reads.tell(reports.note)
    tell_of_misplaced(reports.note_misplaced)
    return reports


def _builtin_authorizer(settings: Settings, secret_box: SecretBox) -> BuiltinAuthorizer:
    # Loaded by the first token: most servers never see one.
    from lightwell.auth.builtin_authorizer import BuiltinAuthorizer

    return BuiltinAuthorizer(secret_box, settings.region, settings.account_id)


def _viewer_tokens(settings: Settings, secret_box: SecretBox) -> ViewerTokens:
    from lightwell.auth.viewer_token import ViewerTokens

    return ViewerTokens(secret_box, settings.region, settings.account_id)


def close(gateway: Gateway) -> None:
    """Finish the work in threads and close the stores. What is on record waits in the trail by then."""
    gateway.close()
    gateway.state.lookups.shutdown(wait=True)
    gateway.state.threads.shutdown(wait=True)
    gateway.state.waiters.shutdown(wait=True)
    gateway.state.encoders.shutdown(wait=True)
    gateway.state.federation.close()
    gateway.state.pool.close()
    if gateway.witness is not None:
        gateway.witness.close()
    if gateway.state.damage is not None:
        gateway.state.damage.close()
    gateway.state.stores.close()


def work(
    settings: Settings,
    recorder: Recorder,
    server: Server | None = None,
    *,
    status: socket.socket | None = None,
    on_ready: Callable[[], None] = lambda: None,
    trail: AuditTrail | None = None,
) -> int:
    """The work process: run the engine, the codec pool of the HTTP processes, or both, until SIGTERM.

    Returns the exit code. Waits while another process is the engine of the data folder (``lightwell import``
    without a server). ``server`` is the heartbeat row to renew if other servers may use the database.
    ``status`` is a bound socket at which a worker answers the status routes.
    """
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.set())
    stores = open_stores(settings)
    reports = _tell_of_damage(settings, stores)
    heartbeat = None if server is None else ServerHeartbeat(stores, server)
    if heartbeat is not None:
        heartbeat.begin()
    s3_check.begin(settings)
    answering = None if status is None else _status_server(status, recorder, _checks(stores, trail))
    if answering is not None:
        answering.begin()
    upkeep = None if trail is None else _audit_upkeep(settings, stores, trail)
    root = AuditFolder(settings.data, settings.audit_key_file).root
    forwarders = [] if trail is None else begin_forwarding(settings, root, trail, recorder)
    try:
        if settings.work == "on":
            is_refused = _engine(settings, stores, recorder, stopping, on_ready, trail)
        else:
            is_refused = _without_engine(settings, stores, recorder, stopping, trail)
    finally:
        if answering is not None:
            answering.end()
        if heartbeat is not None:
            heartbeat.end()
        for forwarder in forwarders:
            forwarder.end()
        if upkeep is not None:
            upkeep.end()
        reports.close()
        stores.close()
    return REFUSED if is_refused else 0


def _audit_upkeep(settings: Settings, stores: Stores, trail: AuditTrail) -> AuditUpkeep:
    folder = AuditFolder(settings.data, settings.audit_key_file)
    writer = "work" if settings.work == "on" else "pool"
    upkeep = AuditUpkeep(folder, stores.db, trail, writer, Clock().now, settings.audit_keep)
    upkeep.begin()
    return upkeep


def _status_server(listener: socket.socket, recorder: Recorder, checks: list[ReadinessCheck]) -> StatusServer:
    # Loaded here: only a worker has one.
    from lightwell.web.http1.status_server import StatusServer

    return StatusServer(listener, recorder.meter, checks)


def _engine(
    settings: Settings,
    stores: Stores,
    recorder: Recorder,
    stopping: threading.Event,
    on_ready: Callable[[], None],
    trail: AuditTrail | None,
) -> bool:
    """Returns whether it has ended because the storage belongs to another database by now."""
    lock, is_told = EngineLock(settings.data), False
    while not lock.take():
        if not is_told:
            is_told = True
            log.warning("waiting for process %s, which works on %s", lock.holder(), settings.data)
        if stopping.wait(_LOCK_SECONDS):
            return False
    engine = Engine(
        stores,
        settings,
        options=EngineOptions(
            alone=stores.db.dialect == "sqlite",
            count=recorder.count,
            measure=recorder.measure,
            delivers=settings.deliver_events == "on",
            pool_linger=_LINGER_SECONDS if settings.pool == "own" else None,
            data_access=open_data_access_roles(
                stores.db, settings.region, settings.account_id, settings.s3_endpoint_url
            ),
            trail=trail,
        ),
    )
    signal.signal(signal.SIGTERM, lambda number, frame: engine.stop())
    on_ready()
    engine.run(stopping.is_set)
    lock.release()
    return engine.is_refused


def _without_engine(
    settings: Settings,
    stores: Stores,
    recorder: Recorder,
    stopping: threading.Event,
    trail: AuditTrail | None,
) -> bool:
    """Serve requests of the HTTP processes, and keep this machine's folders tidy; others do the work.

    Returns what `_engine` does.
    """
    clock, ids = Clock(), Ids()
    measuring = threading.Thread(
        target=keep_measuring, args=(stores, recorder.measure, stopping), name="queue-gauges", daemon=True
    )
    measuring.start()
    records = BackgroundRecords(trail, clock.now, Debtor(Node(settings.data), ids.id))
    owed = None if trail is None else owed_records(settings, stores, trail, records)
    if owed is not None:
        owed.begin()
    pool = RequestPool(stores, settings, clock, ids, records) if settings.pool == "own" else None
    if pool is not None:
        pool.open()
    collector = Collector(stores, settings, clock, ids, stopping, records=records)
    collector.run_beside_others()
    measuring.join()
    if pool is not None:
        pool.close(_LINGER_SECONDS)
    if owed is not None:
        owed.end()
    return collector.is_refused


def _checks(stores: Stores, trail: AuditTrail | None) -> list[ReadinessCheck]:
    def database() -> None:
        schema_state(stores.db)

    def schema() -> ReadinessFailure | None:
        # A newer one is what a server sees in a rolling upgrade, until its turn comes.
        state = schema_state(stores.db)
        return ReadinessFailure(state, _SCHEMA) if state == "behind" else None

    def storage() -> None:
        stores.objects.check()

    def audit() -> ReadinessFailure | None:
        if trail is None or trail.has_room():
            return None
        return ReadinessFailure("unavailable", f"the audit trail cannot be written: {trail.failure()}")

    return [
        ReadinessCheck("database", database),
        ReadinessCheck("schema", schema),
        ReadinessCheck("storage", storage),
        ReadinessCheck("audit", audit),
    ]
