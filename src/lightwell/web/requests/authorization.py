"""Checking what policies allow: the context that a request and a DICOMweb path give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from lightwell.auth.authorization import RequestContext
from lightwell.auth.policies.actions import AuthorizationRequest
from lightwell.auth.policies.condition_keys import UNKNOWN, Value
from lightwell.auth.principals import Principal
from lightwell.auth.roles import RoleError
from lightwell.operations import affected_image_sets, bucket_access
from lightwell.web.requests.request import Request

if TYPE_CHECKING:
    from lightwell.web.dicomweb.resources import DicomwebResource
    from lightwell.web.requests.state import AppState
    from lightwell.wire.route import Route

_STUDY, _SERIES = "medical-imaging:studyinstanceuid", "medical-imaging:seriesinstanceuid"
_METADATA = "GetDICOMInstanceMetadata"
# Kinds of resources that HealthImaging also has without a series; for all others it always knows both UIDs.
_WITHOUT_SERIES = ("search", "store", "capabilities")


def request_context(request: Request, now: int) -> RequestContext:
    """What policies may ask about a request; ``now`` is milliseconds since the epoch."""
    return RequestContext(
        now,
        request.client,
        request.scope.get("scheme") == "https",
        _text(request, b"user-agent"),
        _text(request, b"referer"),
    )


async def authorize(
    state: AppState,
    request: Request,
    principal: Principal,
    required: Sequence[AuthorizationRequest],
    now: int,
) -> None:
    """Raises `AccessDeniedError` unless the principal may do everything that is ``required``.

    What decides is kept on the request.
    """
    check = partial(state.access_control.check, principal, required, request_context(request, now))
    if state.access_control.may_block(principal, required):
        request.decided(await state.in_thread(check))
    else:
        request.decided(check())


def required_for_image_set(
    state: AppState, operation: str, params: Mapping[str, str]
) -> list[AuthorizationRequest]:
    """What must be allowed for an operation on one image set, by the labels of its path."""
    return state.access_control.actions.image_sets(operation, params["datastoreId"], [params["imageSetId"]])


def native_check(
    state: AppState, request: Request, principal: Principal, route: Route, now: int
) -> Callable[[Any], frozenset[str]]:
    """A check that refuses a parsed native request which the principal may not make.

    It returns the ids of the image sets that the request affects without naming them. It blocks.
    """

    def check(parsed: Any) -> frozenset[str]:
        access_control, context = state.access_control, request_context(request, now)
        required = access_control.actions.native(route.operation, parsed)
        request.decided(access_control.check(principal, required, context))
        if route.operation == "StartDICOMImportJob":
            _check_role(state, parsed, now)
        affected = affected_image_sets.affected_image_sets(state.stores, route.operation, parsed)
        if affected:
            access_control.check(
                principal,
                access_control.actions.image_sets(route.operation, parsed.datastore_id, affected),
                context,
            )
        return frozenset(affected)

    return check


def _check_role(state: AppState, request: Any, now: int) -> None:
    """Refuses an import whose role does not exist, does not trust this service, or may not do what the import
    does.

    Called only once `iam:PassRole` is allowed, so that it reveals nothing about other roles.
    """
    try:
        rights = state.data_access_roles.assume(request.data_access_role_arn, request.datastore_id, now)
    except RoleError as error:
        raise bucket_access.unusable_role(str(error)) from None
    bucket_access.check_bucket_access(rights, request)


def image_sets_check(
    state: AppState, request: Request, principal: Principal, action: str, datastore_id: str
) -> Callable[[Sequence[str]], None] | None:
    """A check that refuses an action on image sets; None for a principal that may do everything.

    It is for image sets that the path does not name and a handler has found. It blocks.
    """
    if principal.policies is None:
        return None

    def check(ids: Sequence[str]) -> None:
        required = state.access_control.actions.image_sets(action, datastore_id, ids)
        context = request_context(request, state.clock.now())
        request.decided(state.access_control.check(principal, required, context))

    return check


def required_for_dicomweb(
    state: AppState, request: Request, resource: DicomwebResource
) -> list[AuthorizationRequest]:
    """What must be allowed for a DICOMweb resource, before any of it is looked up."""
    return state.access_control.actions.dicomweb(
        resource.operation, resource.action, resource.datastore_id, uid_context(resource, request.query)
    )


def metadata_check(
    state: AppState, request: Request, principal: Principal, resource: DicomwebResource
) -> Callable[[], None] | None:
    """A check that refuses attributes which need the right to metadata; None for one that may do everything.

    A search shows metadata of everything that it finds. So if the path does not name a series, a policy that
    distinguishes between series does not allow it. The check blocks.
    """
    if principal.policies is None:
        return None

    def check() -> None:
        context = {_STUDY: resource.study or UNKNOWN, _SERIES: resource.series or UNKNOWN}
        required = state.access_control.actions.dicomweb(_METADATA, _METADATA, resource.datastore_id, context)
        state.access_control.check(principal, required, request_context(request, state.clock.now()))

    return check


def uid_context(resource: DicomwebResource, query: bytes) -> dict[str, Value]:
    """``medical-imaging:StudyInstanceUID`` and ``…SeriesInstanceUID``, from the path or WADO-URI's query.

    If several series are read or deleted at once, which HealthImaging cannot do, it is not known which ones:
    a policy that distinguishes between series does not allow it.
    """
    study: Value | None = resource.study
    series: Value | None = resource.series
    if resource.kind == "wado-uri":
        given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        study = tuple(value for name, value in given if name.lower() == "studyuid")
        series = tuple(value for name, value in given if name.lower() == "seriesuid")
    if resource.kind not in _WITHOUT_SERIES:
        study, series = study or UNKNOWN, series or UNKNOWN
    return {key: value for key, value in ((_STUDY, study), (_SERIES, series)) if value is not None}


def _text(request: Request, header: bytes) -> str | None:
    value = request.head.get(header)
    return None if value is None else value.decode("latin-1")
