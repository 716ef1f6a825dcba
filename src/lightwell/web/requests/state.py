"""What all requests of one HTTP process share; made by `app`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, TypeVar

from lightwell.auth.administration.administration import Administration
from lightwell.auth.authentication import Authenticator, Signature
from lightwell.auth.authorization import AccessControl
from lightwell.auth.data_access_role import DataAccessRoles
from lightwell.auth.key_sessions import KeySessions
from lightwell.auth.principals import Principal
from lightwell.auth.sessions import Sessions
from lightwell.clock import Clock, Ids
from lightwell.errors import ThrottlingError
from lightwell.observe.audit.masking import QueryMask
from lightwell.observe.audit.trail import AuditTrail
from lightwell.observe.metrics import Recorder
from lightwell.operations.context import Caller, Context
from lightwell.operations.dicomweb.frames import InstanceFrames
from lightwell.operations.get_image_frame import FrameReader
from lightwell.operations.get_image_set_metadata import MetadataReader
from lightwell.web.authorizers.bearer_authentication import BearerAuthentication
from lightwell.web.authorizers.federation import Federation
from lightwell.web.requests.decoded_bytes import DecodedBytes
from lightwell.web.requests.failed_proofs import FailedProofs
from lightwell.web.requests.rates import Rate
from lightwell.web.requests.shared_buckets import SharedBuckets
from lightwell.web.requests.throttle import Throttle

if TYPE_CHECKING:
    from lightwell.codec_pool.client import CodecPoolClient
    from lightwell.settings import Settings
    from lightwell.stores import Stores
    from lightwell.stores.integrity.damage_reports import DamageReports
    from lightwell.web.requests.request import Request


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReadinessFailure:
    """Why a server is not ready: ``code`` for everyone, ``reason`` for its own log only."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReadinessCheck:
    """One condition of readiness: ``run`` returns None, or why not. It may block and raise."""

    name: str
    run: Callable[[], ReadinessFailure | None]


@dataclass(slots=True)
class AppState:
    """Shared by all requests of a process.

    ``threads`` run what blocks, and ``lookups`` what has to be known before it is certain who asks, of which
    strangers can ask for any number; ``waiters`` run what waits for a codec worker, and ``encoders`` what
    encodes frames, so that nothing else waits behind either. Without a ``trail`` nothing is on record, as in
    tests of other things. ``mask`` says what of queries is.
    """

    settings: Settings
    stores: Stores
    clock: Clock
    ids: Ids
    authenticator: Authenticator
    access_control: AccessControl
    data_access_roles: DataAccessRoles
    sessions: Sessions
    key_sessions: KeySessions
    federation: Federation
    bearer_authentication: BearerAuthentication
    administration: Administration
    recorder: Recorder
    threads: ThreadPoolExecutor
    lookups: ThreadPoolExecutor
    pool: CodecPoolClient
    waiters: ThreadPoolExecutor
    encoders: ThreadPoolExecutor
    checks: Sequence[ReadinessCheck]
    failed_proofs: FailedProofs
    throttle: Throttle | None = None
    trail: AuditTrail | None = None
    mask: QueryMask = field(default_factory=lambda: QueryMask("all", b""))
    buckets: SharedBuckets | None = None
    damage: DamageReports | None = None
    decoded: DecodedBytes = field(init=False)
    frames: FrameReader = field(init=False)
    instance_frames: InstanceFrames = field(init=False)
    metadata: MetadataReader = field(init=False)
    limits_callers: bool = field(init=False)

    def __post_init__(self) -> None:
        self.limits_callers = self.settings.throttle_principal > 0 and self.buckets is not None
        self.decoded = DecodedBytes(self.settings.decoded_memory)
        self.frames = FrameReader(self.stores, self.clock)
        self.instance_frames = InstanceFrames(self.frames)
        self.metadata = MetadataReader(self.stores, self.clock)

    async def in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        """Run a blocking call in one of ``threads``."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, call, *arguments)

    async def load_principal(self, signature: Signature, now: int) -> Principal:
        """Whose key a signature names, from the database. Raises `AuthenticationError`."""
        loop, load = asyncio.get_running_loop(), self.authenticator.load_principal
        return await loop.run_in_executor(self.lookups, load, signature, now)

    def limit_caller(self, principal: Principal) -> None:
        """Count a request that was proved to be this caller's. Raises `ThrottlingError` for one too many."""
        most = self.settings.throttle_principal
        if not most or self.buckets is None:
            return
        if wait := self.buckets.take(f"caller {principal.owner}", Rate(most, 2 * most)):
            raise ThrottlingError(
                f"Rate exceeded: one caller may make {most} requests a second. Try again in a moment.",
                retry_after=ceil(wait),
            )

    def caller(self, principal: Principal) -> Caller:
        """Whoever signed a request, as operations know them."""
        account, key = self.settings.account_id, principal.access_key_id
        return Caller(account, principal.arn, key, principal.owner, principal.emergency)

    def context(self, caller: Caller, request: Request) -> Context:
        """What an operation may use, for one request."""
        return Context(
            self.stores, self.settings, self.clock, self.ids, caller, self.pool, note=request.noted
        )
