"""How a request is processed, as one ordered list of steps; the ASGI application.

Plain ASGI, since a framework's router and middleware cost as much as everything else about a frame.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable
from functools import partial
from hashlib import sha256
from time import perf_counter

from lightwell.auth.bearer_token import InvalidTokenError, is_bearer, session_name, subject_of
from lightwell.auth.lambda_authorizer import BUSY, NoRoleError
from lightwell.auth.principals import Principal
from lightwell.errors import (
    AccessDeniedError,
    ApiError,
    CommitUnknownError,
    DamagedError,
    InternalError,
    RequestTimeoutError,
    StorageUnavailableError,
    ThrottlingError,
    TooLargeError,
    UnavailableError,
)
from lightwell.observe.exception_text import message
from lightwell.observe.logs import event
from lightwell.web import sts
from lightwell.web.audit.witness import Witness
from lightwell.web.authorizers.viewer_sessions import RefusedViewerError
from lightwell.web.aws_json import api, get_image_frames
from lightwell.web.aws_json.event_loop_operations import EVENT_LOOP_OPERATIONS
from lightwell.web.console import api as console_api
from lightwell.web.console import site
from lightwell.web.console.table import UNSIGNED
from lightwell.web.dicomweb import dispatch
from lightwell.web.dicomweb import resources as dicomweb
from lightwell.web.dicomweb.resources import DicomwebResource
from lightwell.web.pages.ohif import BASE, Ohif
from lightwell.web.pages.site_response import moved
from lightwell.web.pages.welcome import WelcomePage, is_for_people
from lightwell.web.requests import responses
from lightwell.web.requests.authorization import authorize, native_check, required_for_image_set
from lightwell.web.requests.claims import read_claim
from lightwell.web.requests.cors import Cors
from lightwell.web.requests.hsts import hsts, is_local
from lightwell.web.requests.logged_path import logged_path
from lightwell.web.requests.proxies import Proxies, client_network
from lightwell.web.requests.request import PAGE, PREFLIGHT, STATUS, Disconnected, Request
from lightwell.web.requests.responses import WHOLE_RESPONSE, Message, Receive, Response, Send, cache_control
from lightwell.web.requests.state import AppState
from lightwell.web.status import Status
from lightwell.wire.matching import match

log = logging.getLogger(__name__)

_ORIGIN, _REQUESTED_METHOD = b"origin", b"access-control-request-method"
_CLIENT_CLOSED_REQUEST = 499
# Of most requests, which are spared the comparison with all other paths.
_DATASTORES = b"/datastore/"
# What answers without a signature or token: a page that somebody visits could read it of a server inside.
_NOT_FOR_OTHER_ORIGINS = frozenset({STATUS, PAGE, *UNSIGNED})
_LOGGED_AT_DEBUG = frozenset(
    {*EVENT_LOOP_OPERATIONS, "GetDICOMInstanceFrames", PAGE, "ConsoleGetJob", "ConsolePutUploadedFile"}
)


class Gateway:
    """Responds to every HTTP request of one process."""

    def __init__(self, state: AppState) -> None:
        self.state = state
        self._cors = Cors(state.settings.cors_origins)
        self._masks_paths = state.settings.log_uids == "masked"
        self._hsts = hsts(state.settings.hsts)
        self._status = Status(state.recorder.meter, state.checks)
        proxies = Proxies(state.settings.proxies)
        self._proxies = proxies if proxies else None
        self._welcome = WelcomePage(has_viewer=(state.settings.ohif_folder / "index.html").is_file())
        self._console_api = console_api.Api(state, self._status)
        self._console = site.Console(state, state.federation.origins)
        self._ohif = Ohif(state, state.settings.ohif_folder)
        self.witness = None if state.trail is None else Witness(state.trail, state.clock.now, state.mask)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        started = perf_counter()
        if self._proxies is not None:
            self._proxies.apply(scope)
        request = Request(scope, _request_id(self.state.ids.id()))
        self.state.recorder.begin()
        witness = self.witness
        response: Response | None = None
        try:
            try:
                response = await self._process(request, receive)
            except Disconnected:
                raise
            except Exception as error:
                response = self._failure(request, error)
            if witness is not None and (kept := witness.put(request, response)) is not None:
                response = await _once_kept(request, response, kept)
            self._add_common_headers(request, response)
            supports_whole = WHOLE_RESPONSE in scope.get("extensions", ())
            await responses.send_response(
                response, send, head_only=request.method == "HEAD", supports_whole=supports_whole
            )
        except Disconnected:
            pass
        except Exception:
            # The response has started: all that is left is to cut it short, which uvicorn does.
            log.exception("response cut short", extra={"fields": {"request": request.id}})
        finally:
            if witness is not None and (response is None or not isinstance(response.body, bytes)):
                witness.ended(request, response)
            self._record(request, response, perf_counter() - started)

    def close(self) -> None:
        """End what belongs to no request."""
        self._status.close()

    def _failure(self, request: Request, error: Exception) -> Response:
        """The response to a request that has raised an error; called while it is handled."""
        if isinstance(error, ApiError):
            request.refused(error)
            response = _error_response(request, error)
            if isinstance(error, TooLargeError | RequestTimeoutError):
                response.headers.append((b"connection", b"close"))
            return response
        fields = {"fields": {"request": request.id}}
        shown: ApiError
        if isinstance(error, CommitUnknownError):
            log.error("a change may have been made: %s", error, extra=fields)
            shown = UnavailableError(
                "The server lost its database while it committed, so it is not known whether the change "
                "was made. Look at what it concerns before you repeat it. Its log says more, under "
                f"request id {request.id}."
            )
        elif isinstance(error, StorageUnavailableError):
            log.error("the storage is not available: %s", error, extra=fields)
            shown = UnavailableError(
                "The server cannot reach its storage at the moment. Try again later. Its log says why, "
                f"under request id {request.id}."
            )
        elif isinstance(error, DamagedError):
            log.error("what is stored is damaged: %s", error, extra=fields)
            shown = InternalError(message(error))
        else:
            log.exception("request failed", extra=fields)
            shown = InternalError(f"The server failed. Its log says why, under request id {request.id}.")
        return _error_response(request, shown)

    async def _process(self, request: Request, receive: Receive) -> Response:
        """The steps. Each may end the processing with a response or an `ApiError`."""
        state = self.state
        request.check_size()

        # Routes that need no signature, none of which are below a data store.
        is_below = request.path.startswith(_DATASTORES)
        if not is_below and (response := await self._for_anybody(request)) is not None:
            return response
        if request.method == "OPTIONS" and _ORIGIN in request.head and _REQUESTED_METHOD in request.head:
            request.operation = PREFLIGHT
            return self._cors.preflight(request.head.get(b"access-control-request-headers"))

        is_console = (
            not is_below and request.path.startswith(site.BASE[:-1]) and request.path[8:9] in (b"", b"/")
        )
        if is_console and not request.path.startswith(console_api.BASE):
            request.operation = PAGE
            return await self._console.respond(request)

        # What cannot be on record is not done.
        if state.trail is not None and not state.trail.has_room():
            await state.trail.room()

        if is_console:
            return await self._console_api.respond(request, receive)
        if not is_below and sts.is_sts_request(request):
            return await sts.respond(state, request, receive)

        resource = dicomweb.resource(request.method, request.path, request.query)
        if resource is not None:
            return await self._dicomweb(request, resource, receive)

        if is_bearer(request.head.get(b"authorization", b"")):
            # No authorizer vouches for a token outside a resource: nothing is there, or signatures only are.
            match(request.method, request.path)

        # Who signed it? An unsigned request costs no look-up, and its body is not read.
        now = state.clock.now()
        claim = await read_claim(state, request, now)
        principal, body = claim.principal, await claim.body(receive)

        # Which operation?
        if request.path.endswith(get_image_frames.LAST_SEGMENT):
            labels = get_image_frames.image_set_of(request)
            if labels is not None:
                return await self._image_frames(request, labels, principal, body)
        route, params = match(request.method, request.path)
        request.operation, request.labels = route.operation, params
        if state.throttle is not None:
            state.throttle.take(route.operation)
        on_event_loop = EVENT_LOOP_OPERATIONS.get(route.operation)
        if on_event_loop is not None:
            if principal.policies is not None:
                required = required_for_image_set(state, route.operation, params)
                await authorize(state, request, principal, required, now)
            if (response := await on_event_loop(state, request, params, body)) is not None:
                return response
        context = state.context(state.caller(principal), request)
        allow = None if principal.policies is None else native_check(state, request, principal, route, now)
        return await state.in_thread(partial(api.perform, context, route, params, request.query, body, allow))

    async def _for_anybody(self, request: Request) -> Response | None:
        """The status of the server, the page at / or OHIF, if the path is one of these."""
        if (status := self._status.route(request.method, request.path)) is not None:
            request.operation = STATUS
            return await status()
        if request.path == b"/" and is_for_people(request):
            request.operation = PAGE
            return moved(site.BASE, 302) if self._console.is_built() else self._welcome.respond()
        if request.path.startswith(BASE) or request.path == BASE[:-1]:
            request.operation = PAGE
            return await self._ohif.respond(request)
        return None

    async def _image_frames(
        self, request: Request, labels: dict[str, str], principal: Principal, body: bytes
    ) -> Response:
        """Many frames of an image set at once, which the service model does not have."""
        state, operation = self.state, get_image_frames.OPERATION
        request.operation, request.labels = operation, labels
        if state.throttle is not None:
            state.throttle.take(operation)
        if principal.policies is not None:
            required = required_for_image_set(state, operation, labels)
            await authorize(state, request, principal, required, state.clock.now())
        return await get_image_frames.serve_frames(state, request, state.caller(principal), labels, body)

    async def _dicomweb(self, request: Request, resource: DicomwebResource, receive: Receive) -> Response:
        """A request below ``/datastore/{id}`` that PS3.18 or HealthImaging's DICOMweb pages define."""
        state = self.state
        request.operation, request.resource = resource.operation, resource
        now = state.clock.now()
        if is_bearer(request.head.get(b"authorization", b"")):
            return await self._dicomweb_by_bearer(request, resource, receive, now)
        claim = await read_claim(state, request, now)
        body_reader, is_proved = _BodyReader(receive), True
        if resource.kind != "store":
            await claim.body(receive)
        else:
            # Check everything but the body itself before reading a gigabyte of it, if that is possible.
            is_proved = claim.prove_head()
        if state.throttle is not None:
            state.throttle.take(resource.operation)
        dicomweb_request = dispatch.DicomwebRequest(
            state, request, resource, claim.principal, body_reader, claim.prove, is_proved
        )
        try:
            return await dispatch.respond(dicomweb_request)
        except TooLargeError:
            raise
        except ApiError:
            if not is_proved and not body_reader.was_read:
                await _prove_before_refusing(dicomweb_request)
            raise

    async def _dicomweb_by_bearer(
        self, request: Request, resource: DicomwebResource, receive: Receive, now: int
    ) -> Response:
        """The same with a bearer token, which the data store's authorizer has to accept."""
        state = self.state
        try:
            principal = await state.bearer_authentication.principal(
                request.headers,
                resource.datastore_id,
                resource.operation,
                request=request.id,
                now=now,
                client=request.client and client_network(request.client),
            )
        except InvalidTokenError as error:
            refusal = state.failed_proofs.refusal
            raise refusal(error, "bearer_token", request.client, resource.datastore_id) from None
        except RefusedViewerError as error:
            request.principal = error.principal
            raise
        except NoRoleError:
            request.subject = subject_of(request.head[b"authorization"]) or session_name(None)
            raise
        request.principal = principal
        if principal.subject is None and not principal.access_key_id:
            request.subject = subject_of(request.head[b"authorization"])
        request.prove()
        try:
            state.limit_caller(principal)
        except ThrottlingError as error:
            raise ThrottlingError(BUSY, retry_after=error.retry_after) from None
        if principal.access_key_id:
            state.authenticator.was_used(principal, request.client, now)
        if resource.kind != "store":
            await request.body(receive)
        if state.throttle is not None:
            try:
                state.throttle.take(resource.operation)
            except ThrottlingError as error:
                raise ThrottlingError(BUSY, retry_after=error.retry_after) from None
        dicomweb_request = dispatch.DicomwebRequest(
            state, request, resource, principal, receive, _accept_any_body, True
        )
        return await dispatch.respond(dicomweb_request)

    def _add_common_headers(self, request: Request, response: Response) -> None:
        """Add the headers that every response has."""
        cached = response.cache_control or cache_control(response.headers)
        response.headers += (cached, (b"x-amzn-requestid", request.id.encode()))
        if self._hsts is not None and request.scope.get("scheme") == "https" and not is_local(request):
            response.headers.append(self._hsts)
        if request.operation not in _NOT_FOR_OTHER_ORIGINS:
            response.headers += self._cors.allowed(request.head.get(_ORIGIN))

    def _record(self, request: Request, response: Response | None, seconds: float) -> None:
        status = _CLIENT_CLOSED_REQUEST if response is None else response.status
        sent = 0 if response is None else response.size
        self.state.recorder.request(request.operation, status, seconds, request.received, sent)
        if request.principal is not None and request.principal.emergency:
            self.state.recorder.count("lightwell_emergency_total", "request", 1)
        # Frames, probes and files of an upload come by the thousand; the metrics cover them.
        is_frequent = request.operation == STATUS or (status == 200 and request.operation in _LOGGED_AT_DEBUG)
        level = logging.DEBUG if is_frequent else logging.INFO
        if not log.isEnabledFor(level):
            return
        event(
            log,
            level,
            "request",
            request=request.id,
            operation=request.operation,
            status=status,
            error=None if response is None else response.error,
            method=request.method,
            path=logged_path(request.path, masks=self._masks_paths),
            caller=request.caller,
            client=request.client,
            certificate=request.client_certificate,
            ms=round(seconds * 1000, 3),
            received=request.received,
            sent=sent,
        )


class _BodyReader:
    """Receives the body of a request, and knows whether any of it has been read."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.was_read = False

    async def __call__(self) -> Message:
        self.was_read = True
        return await self._receive()


async def _prove_before_refusing(dicomweb_request: dispatch.DicomwebRequest) -> None:
    """Verify the signature over the body before saying why an upload is refused.

    Anyone else would learn names, policies and data stores. Raises `AuthenticationError` for them, and
    `AccessDeniedError` if the body is too long to find out.
    """
    try:
        body = await dicomweb_request.http.body(dicomweb_request.receive)
    except TooLargeError:
        raise AccessDeniedError(
            "This upload is refused. To find out why, state its hash in x-amz-content-sha256 when signing it."
        ) from None
    dicomweb_request.prove(sha256(body).hexdigest())


async def _once_kept(request: Request, response: Response, kept: Awaitable[None]) -> Response:
    """The response, once its record is on the disk; in its place an error where that fails."""
    try:
        await kept
    except ApiError as error:
        if isinstance(response.body, AsyncGenerator):
            await response.body.aclose()
        return _error_response(request, error)
    return response


def _error_response(request: Request, error: ApiError) -> Response:
    return (
        sts.error_response(error, request.id)
        if sts.is_sts_request(request)
        else responses.error_response(error)
    )


def _accept_any_body(digest: str) -> None:
    """With a bearer token nothing is signed, so there is nothing to verify."""


def _request_id(digits: str) -> str:
    """32 random hex digits as a version 4 UUID, like AWS's request ids."""
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
