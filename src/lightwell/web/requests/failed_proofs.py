"""Signatures, tokens and links that prove nothing: counted, slowed down, and told to whoever watches.

Whatever is wrong is found first, so what is right always passes, whoever else fails: access key IDs stand in
every presigned URL, and a hospital comes from one address. Only the answer to what is wrong changes once
there is too much of it, from one address or in the name of one key: 429 instead of 403. When that happens, it
is logged and becomes an event, at most once a minute for each address and key.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Literal

from lightwell.errors import ApiError, ThrottlingError
from lightwell.observe.logs import event
from lightwell.web.requests.proxies import client_network
from lightwell.web.requests.rates import Rate
from lightwell.web.requests.shared_buckets import SharedBuckets

log = logging.getLogger(__name__)

ProofKind = Literal["signature", "bearer_token", "web_identity", "console_link"]
COUNTER = "lightwell_failed_proofs_total"

_QUIET_SECONDS = 60.0
# Whoever has any number of addresses rings no more often than this for all of them.
_ALARMS = Rate(1 / 6, 10)
_ID = re.compile(r"[\w.:/+=,@-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Alarm:
    """Too many failures from ``address``, or in the name of ``claimed``: a key, or a data store.

    ``count`` is how many since the last alarm of the same, or since the first.
    """

    kind: ProofKind
    count: int
    address: str | None = None
    claimed: str | None = None


class FailedProofs:
    """What one process does about them. ``per_minute`` 0: nothing but counting. For the event loop only."""

    def __init__(
        self,
        buckets: SharedBuckets | None,
        per_minute: int,
        count: Callable[[str, str], None],
        tell: Callable[[Alarm], None],
    ) -> None:
        self._buckets = buckets if per_minute else None
        self._rate = Rate(per_minute / 60, per_minute)
        self._count = count
        self._tell = tell

    def refusal(
        self, error: ApiError, kind: ProofKind, address: str | None, claimed: str | None = None
    ) -> ApiError:
        """What to answer to something that was found to prove nothing, as ``error`` says."""
        self._count(COUNTER, kind)
        if self._buckets is None:
            return error
        by_address = self._ring(f"address {client_network(address)}", Alarm(kind, 0, address=address))
        by_key = 0.0
        if claimed is not None:
            shown = claimed if _ID.fullmatch(claimed) else "(not an ID)"
            by_key = self._ring(f"{kind} {claimed}", Alarm(kind, 0, claimed=shown))
        wait = max(by_address, by_key)
        if not wait:
            return error
        return ThrottlingError(
            "Too many requests could not be verified lately, and this is another one: check the secret "
            "access key, or the token. A request that can be verified is served.",
            retry_after=ceil(wait),
        )

    def _ring(self, key: str, alarm: Alarm) -> float:
        assert self._buckets is not None
        wait, count = self._buckets.ring(key, self._rate, _QUIET_SECONDS)
        if count and not self._buckets.take("alarms", _ALARMS):
            event(
                log,
                logging.WARNING,
                "many requests fail verification",
                kind=alarm.kind,
                failed=count,
                client=alarm.address,
                claimed=alarm.claimed,
            )
            self._tell(Alarm(alarm.kind, count, alarm.address, alarm.claimed))
        return wait
