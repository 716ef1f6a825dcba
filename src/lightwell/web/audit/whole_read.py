"""A frame or a document that was read whole, and nothing else: what its record is made from.

Thousands are read each second, and what is done between the steps of a request takes several times as long as
the same in a row. So a request only keeps what the record needs, and the thread of the trail makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from lightwell.observe.audit.record import AGENT_LENGTH, FrameRecord, Unmade
from lightwell.web.requests.request import CLIENT_CERTIFICATE

if TYPE_CHECKING:
    from lightwell.auth.policies.policy import Decision
    from lightwell.auth.principals import Principal
    from lightwell.web.audit.operations import Recorded
    from lightwell.web.requests.request import Request, Shown

# Of the statements that allowed one request.
_MOST_STATEMENTS: Final = 8


class WholeRead(Unmade, gc=False):
    """``peer`` is the address and the port of the client, ``sent`` counts the bytes of the body; the rest is
    as in `Request`."""

    id: str
    operation: str
    recorded: Recorded
    principal: Principal
    subject: str | None
    issuer: str | None
    decisions: Sequence[Decision]
    peer: Sequence[str | int] | None
    certificate: str | None
    agent: bytes | None
    store: str | None
    instance: str | None
    shown: Shown
    item: str | None
    status: int
    sent: int

    def record(self) -> FrameRecord:
        principal, agent, peer = self.principal, self.agent, self.peer
        image_set, patient, study, series = self.shown
        by: str | None = "administrator"
        policy: str | None = None
        if principal.policies is not None:
            by, policy = statements(self.decisions)
        elif principal.arn.endswith(":root"):
            by = "root"
        return FrameRecord(
            0,
            self.at,
            self.id,
            self.recorded.via,
            self.operation,
            self.recorded.kind,
            principal.arn,
            principal.access_key_id or None,
            principal.subject or self.subject,
            principal.provider or self.issuer,
            principal.taken_by,
            None if peer is None else str(peer[0]),
            self.certificate,
            None if agent is None else agent.decode("latin-1"),
            self.store,
            image_set,
            patient or None,
            study,
            series,
            self.instance,
            () if self.item is None else (self.item,),
            self.status,
            by,
            policy,
            self.sent,
            principal.emergency,
        )


def kept(
    at: int, request: Request, recorded: Recorded, principal: Principal, shown: Shown, status: int, sent: int
) -> WholeRead:
    """What the record needs of a request that is answered now, with so many bytes. It has to be fast."""
    scope, resource, agent = request.scope, request.resource, request.head.get(b"user-agent")
    store: str | None = None
    instance: str | None = None
    if resource is not None:
        store, instance = resource.datastore_id, resource.instance
    elif request.labels is not None:
        store = request.labels.get("datastoreId")
    return WholeRead(
        at,
        request.id,
        request.operation,
        recorded,
        principal,
        request.subject,
        request.issuer,
        request.decisions,
        scope.get("client"),
        scope.get(CLIENT_CERTIFICATE),
        None if agent is None else agent[:AGENT_LENGTH],
        store,
        instance,
        shown,
        request.item,
        status,
        sent,
    )


def statements(decisions: Sequence[Decision]) -> tuple[str | None, str | None]:
    """The titles of the statements that allowed something, and the digests of their policies."""
    if len(decisions) == 1 and decisions[0].statement is not None:
        return decisions[0].statement.title, decisions[0].statement.policy
    found = {each.statement.title: each.statement.policy for each in decisions if each.statement}
    titles = list(found)[:_MOST_STATEMENTS]
    return "; ".join(titles) or None, "; ".join(dict.fromkeys(found[title] for title in titles)) or None
