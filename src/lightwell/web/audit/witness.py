"""Each request that concerns patients, or who may do what, leaves a record: made here from what is known of
the request at its end.

Of an answer that is whole the record is put before it is sent, since nothing is learned after that. One that
is sent piece by piece has two: before its first byte, and after its last.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

from lightwell.errors import AccessDeniedError, ApiError, AuthenticationError
from lightwell.observe.audit.masking import QueryMask
from lightwell.observe.audit.record import AGENT_LENGTH, AuditRecord, Change
from lightwell.observe.audit.trail import AuditTrail
from lightwell.web.audit.operations import NOT_RECORDED, RECORDED, UNRECORDED_KIND, Recorded
from lightwell.web.audit.unproved import Unproved
from lightwell.web.audit.whole_read import kept, statements
from lightwell.web.aws_json import get_image_frames
from lightwell.web.requests.request import UNKNOWN
from lightwell.wire.matching import match

if TYPE_CHECKING:
    from lightwell.observe.audit.note import AuditNote
    from lightwell.web.requests.request import Request
    from lightwell.web.requests.responses import Response

CLIENT_CLOSED_REQUEST: Final = 499
_TOO_MANY: Final = 429
# UIDs and frame lists come from paths of up to 16 KiB; a UID that was found has at most 256 characters.
_SHORT_PATH: Final = 512
_LONGEST: Final = 256


class Witness:
    """Makes the records of one process. Not for use from several threads."""

    def __init__(self, trail: AuditTrail, now: Callable[[], int], mask: QueryMask) -> None:
        """``now`` is the time in milliseconds, ``mask`` says what of queries is kept."""
        self._mask = mask
        self._trail = trail
        self._put = trail.put
        self._now = now
        self._unproved = Unproved(trail.put)
        self._is_sync = trail.is_sync

    def put(self, request: Request, response: Response) -> Awaitable[None] | None:
        """Put the record of a request, if it leaves one, before its answer is sent.

        What is returned must be awaited before that: it raises `UnavailableError` if the record is not kept.
        """
        recorded = RECORDED.get(request.operation)
        principal, shown, body = request.principal, request.shown, response.body
        if recorded is None or principal is None or request.refusal is not None:
            recorded = self._of_exception(request, response, recorded)
            if recorded is None:
                return None
        elif (
            shown is not None
            and request.note is None
            and response.status < 300
            and isinstance(body, bytes)
            and len(request.path) <= _SHORT_PATH
        ):
            self._put(kept(self._now(), request, recorded, principal, shown, response.status, len(body)))
            return self._trail.durable() if self._is_sync else None
        if isinstance(body, bytes):
            self._put(self._record(request, recorded, response, None, len(body)))
        else:
            phase = None if request.method == "HEAD" else "begun"
            self._put(self._record(request, recorded, response, phase, None))
        if self._is_sync or (recorded.is_durable and response.status < 400):
            return self._trail.durable()
        return None

    def ended(self, request: Request, response: Response | None) -> None:
        """Put what is known only after the answer: that it was sent, and how much of it."""
        if response is None:
            self._cut_off(request)
            return
        if isinstance(response.body, bytes) or request.method == "HEAD":
            return
        recorded = RECORDED.get(request.operation)
        if recorded is None or request.principal is None:
            return
        record = self._record(request, recorded, response, "ended", response.sent)
        record.is_cut = not response.is_complete
        self._put(record)

    def close(self) -> None:
        """Put what still waits."""
        self._unproved.flush()

    def _of_exception(
        self, request: Request, response: Response, recorded: Recorded | None
    ) -> Recorded | None:
        """How a request is on record that is refused, proved by nobody, or not of those that are recorded."""
        refusal = request.refusal
        if not _is_proved(request) or isinstance(refusal, AuthenticationError):
            if _is_of_stranger(request, response):
                self._unproved.add(self._of_stranger(request, response))
                return None
            # Without a principal only those who sign in are answered.
            return recorded if request.named is not None else None
        if recorded is not None:
            return recorded
        if request.operation in NOT_RECORDED:
            return UNRECORDED_KIND if refusal is not None else None
        if request.operation != UNKNOWN:
            return None
        # Refused before it was asked what it is for: its body is too large, or there are too many.
        return RECORDED.get(_asked_for(request)[0], UNRECORDED_KIND)

    def _cut_off(self, request: Request) -> None:
        """Of a request that ended without an answer, and may have changed something, or read it."""
        recorded = RECORDED.get(request.operation)
        if recorded is None or not _is_proved(request):
            return
        record = self._record(request, recorded, None, None, None)
        record.status, record.is_cut = CLIENT_CLOSED_REQUEST, True
        self._put(record)

    def _of_stranger(self, request: Request, response: Response) -> AuditRecord:
        return AuditRecord(
            at=self._now(),
            id=request.id,
            operation=_asked_for(request)[0],
            claimed=request.claimed_key,
            address=request.client,
            certificate=request.client_certificate,
            status=response.status,
            error=response.error,
        )

    def _record(
        self,
        request: Request,
        recorded: Recorded,
        response: Response | None,
        phase: str | None,
        sent: int | None,
    ) -> AuditRecord:
        """Written for frames: what they need is put into the record at once, and the rest afterwards."""
        agent = request.head.get(b"user-agent")
        peer = request.scope.get("client")
        principal, resource, shown, item = request.principal, request.resource, request.shown, request.item
        via, operation = recorded.via, request.operation
        store = image_set = patient = study = series = instance = job = None
        if resource is not None:
            via, store = "dicomweb", resource.datastore_id
            study, series, instance = resource.study, resource.series, resource.instance
            if shown is not None:
                image_set, patient, _, _ = shown
        else:
            if request.operation == UNKNOWN:
                operation, labels = _asked_for(request)
            else:
                labels = request.labels
            if labels is not None:
                store, image_set = labels.get("datastoreId"), labels.get("imageSetId")
                job = labels.get("jobId")
                if recorded.kind == "access":
                    item = labels.get("accessKeyId") or labels.get("roleName")
            if shown is not None:
                image_set, patient, study, series = shown
        record = AuditRecord(
            at=self._now(),
            id=request.id,
            via=via,
            operation=operation,
            kind=recorded.kind,
            who=request.named if principal is None else principal.arn,
            key=None if principal is None else principal.access_key_id or None,
            address=None if peer is None else peer[0],
            certificate=request.client_certificate,
            agent=None if agent is None else agent[:AGENT_LENGTH].decode("latin-1"),
            store=store,
            image_set=image_set,
            patient=patient or None,
            study=study,
            series=series,
            instance=instance,
            items=() if item is None else (item,),
            job=job,
            status=None if response is None else response.status,
            error=None if response is None else response.error,
            phase=phase,
            sent=sent,
        )
        if request.subject is not None:
            record.subject, record.provider = request.subject, request.issuer
        if principal is not None:
            record.emergency = principal.emergency
            if principal.role is not None:
                record.subject = principal.subject or request.subject
                record.provider = principal.provider or request.issuer
                record.taken_by = principal.taken_by
        if principal is not None and principal.policies is None and request.refusal is None:
            record.by = "root" if principal.arn.endswith(":root") else "administrator"
        else:
            _decided(record, request)
        if request.trust is not None:
            record.by = _joined(record.by, request.trust.title)
            record.policy = _joined(record.policy, request.trust.policy)
        if len(request.path) > _SHORT_PATH:
            _shorten(record)
        if request.note is not None:
            request.note.fill(record)
            if record.query is not None:
                record.query = self._mask.of(record.query)
            if request.note.tags:
                record.change += self._tags(request.note)
        return record

    def _tags(self, note: AuditNote) -> tuple[Change, ...]:
        of = self._mask.of_tag
        return tuple(
            Change(f"tag {key}", of(before), of(after)) for key, (before, after) in note.tags.items()
        )


def _is_proved(request: Request) -> bool:
    """Whether it is known who sends it: by a principal, or as the subject of a genuine token."""
    return request.principal is not None or request.subject is not None


def _is_of_stranger(request: Request, response: Response) -> bool:
    """Whether a request that nobody is proved to have sent is counted.

    Who fails too often is told to slow down, before the next signature is looked at; and a body that is too
    large is refused before a signature that covers it.
    """
    if request.refusal is not None or response.status == _TOO_MANY:
        return True
    has_claim = request.claimed_key is not None or request.resource is not None
    return has_claim and 400 <= response.status < 500


def _asked_for(request: Request) -> tuple[str, Mapping[str, str] | None]:
    """The operation that the target of a request names, and its labels, if the request came so far or not."""
    if request.operation != UNKNOWN:
        return request.operation, request.labels
    try:
        if request.path.endswith(get_image_frames.LAST_SEGMENT):
            labels = get_image_frames.image_set_of(request)
            if labels is not None:
                return get_image_frames.OPERATION, labels
        route, params = match(request.method, request.path)
    except ApiError:  # there is none, or the path is malformed
        return UNKNOWN, request.labels
    return route.operation, params


def _decided(record: AuditRecord, request: Request) -> None:
    """By which statement it was allowed or refused."""
    refusal = request.refusal
    if refusal is not None:
        if isinstance(refusal, AccessDeniedError) and refusal.statement is not None:
            record.by, record.policy = refusal.statement, refusal.policy
        return
    record.by, record.policy = statements(request.decisions)


def _joined(*texts: str | None) -> str | None:
    return "; ".join(filter(None, texts)) or None


def _shorten(record: AuditRecord) -> None:
    """Bound what comes from a path."""
    for name in ("store", "image_set", "study", "series", "instance"):
        value = getattr(record, name)
        if value is not None and len(value) > _LONGEST:
            setattr(record, name, value[:_LONGEST])
    record.items = tuple(item[: 2 * _LONGEST] for item in record.items)
