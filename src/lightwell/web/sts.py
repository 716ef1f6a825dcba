"""The STS endpoint at ``/``, so that ``boto3.client("sts")`` works here.

Source: AWS STS API Reference 2011-06-15 and the AWS Query protocol: parameters in the body of a POST or in
the query, answers and errors in XML. Signed for the service ``sts``, but for AssumeRoleWithWebIdentity, which
a token stands for. GetCallerIdentity and GetSessionToken need no permission.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from lightwell.auth.key_sessions import DEFAULT_DURATION as KEY_SESSION_SECONDS
from lightwell.auth.openid.errors import InvalidIdentityTokenError, WebIdentityError
from lightwell.auth.principals import Credentials, Principal, principal_context
from lightwell.auth.roles import REASON_TAG
from lightwell.auth.sessions import AssumedRole, WantedSession
from lightwell.auth.sigv4 import MISSING
from lightwell.errors import ApiError, AuthenticationError, ThrottlingError, UnavailableError, ValidationError
from lightwell.observe.logs import event
from lightwell.web.requests.authorization import request_context
from lightwell.web.requests.claims import read_claim
from lightwell.web.requests.request import Request
from lightwell.web.requests.responses import Receive, Response, plain

if TYPE_CHECKING:
    from lightwell.web.requests.state import AppState

SERVICE, VERSION = "sts", "2011-06-15"
WEB_IDENTITY = "AssumeRoleWithWebIdentity"
OPERATIONS = ("AssumeRole", WEB_IDENTITY, "GetCallerIdentity", "GetSessionToken")

log = logging.getLogger(__name__)

_NAMESPACE = f"https://sts.amazonaws.com/doc/{VERSION}/"
# STS has other names for some errors than the service's JSON protocol.
_NAMES = {
    "AccessDeniedException": "AccessDenied",
    "ExpiredTokenException": "ExpiredToken",
    "InternalServerException": "InternalFailure",
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "ServiceQuotaExceededException": "LimitExceeded",
    "ThrottlingException": "Throttling",
    "UnrecognizedClientException": "InvalidClientTokenId",
    "ValidationException": "ValidationError",
}
_BODY_LIMIT = 64 << 10
# Of a tag's value on AWS.
_LONGEST_REASON = 256
# Of what the audit trail keeps of the ARN that somebody asks for: no role has a longer one.
_LONGEST_ARN = 256
# Devices, managed policies and session tags do not exist here, but for the one of emergencies; ignoring one
# could widen a session's rights.
_UNSUPPORTED = (
    "PolicyArns",
    "ProvidedContexts",
    "ProviderId",
    "SerialNumber",
    "SourceIdentity",
    "Tags",
    "TokenCode",
    "TransitiveTagKeys",
)

Parameters = Mapping[str, str]


class InvalidActionError(ApiError):
    """This endpoint has no such action."""

    status, code = 400, "InvalidAction"


def is_sts_request(request: Request) -> bool:
    """Whether the request is for STS: any POST to ``/``, and a GET that names an action."""
    if request.path not in (b"/", b""):
        return False
    return request.method == "POST" or (request.method == "GET" and b"Action=" in request.query)


async def respond(state: AppState, request: Request, receive: Receive) -> Response:
    """The response to one request, errors included."""
    try:
        return await _respond(state, request, receive)
    except ApiError as error:
        request.refused(error)
        return error_response(error, request.id)


def error_response(error: ApiError, request_id: str) -> Response:
    """An error in XML, under the name that STS uses for it."""
    code = error.code if isinstance(error, WebIdentityError) else _NAMES.get(error.code, error.code)
    kind = "Receiver" if error.status >= 500 else "Sender"
    body = (
        f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>{kind}</Type><Code>{escape(code)}</Code>'
        f"<Message>{_text(error.message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    )
    response = _xml(error.status, body)
    response.error = code
    if isinstance(error, UnavailableError | ThrottlingError):
        response.headers.append((b"retry-after", b"%d" % error.retry_after))
    return response


async def _respond(state: AppState, request: Request, receive: Receive) -> Response:
    now = state.clock.now()
    try:
        claim = await read_claim(state, request, now, SERVICE)
    except AuthenticationError as error:
        if error.code != MISSING:
            raise
        return await _respond_unsigned(state, request, receive, error)
    principal, body = claim.principal, await claim.body(receive, _BODY_LIMIT)
    parameters = _parameters(request.query, body)
    action = parameters.get("Action", "")
    if action not in OPERATIONS:
        raise InvalidActionError(
            f"Could not find operation {action[:100]} for version {VERSION}: this endpoint knows "
            f"{', '.join(OPERATIONS[:-1])} and {OPERATIONS[-1]}"
        )
    request.operation = action
    if action == WEB_IDENTITY:
        return await _assume_by_token(state, parameters, request, now)
    if action == "GetCallerIdentity":
        return _response(action, _render_identity(state, principal), request.id)
    give = _session_token if action == "GetSessionToken" else _assume
    work = partial(give, state, principal, parameters, request, now)
    return _response(action, await state.in_thread(work), request.id)


async def _respond_unsigned(
    state: AppState, request: Request, receive: Receive, missing: AuthenticationError
) -> Response:
    """The response to a request without a signature, which only the one with a token may be."""
    body = await request.body(receive, _BODY_LIMIT)
    try:
        parameters = _parameters(request.query, body)
    except ValidationError:
        raise missing from None
    if parameters.get("Action") != WEB_IDENTITY:
        raise missing
    request.operation = WEB_IDENTITY
    return await _assume_by_token(state, parameters, request, state.clock.now())


async def _assume_by_token(state: AppState, parameters: Parameters, request: Request, now: int) -> Response:
    _refuse_unsupported(parameters)
    token, arn = _required(parameters, "WebIdentityToken"), _required(parameters, "RoleArn")
    session = _required(parameters, "RoleSessionName")
    wanted = WantedSession(session, _duration(parameters), parameters.get("Policy"))
    try:
        identity = await state.federation.verify(token, now)
    except InvalidIdentityTokenError as error:
        raise state.failed_proofs.refusal(error, "web_identity", request.client) from None
    request.subject, request.issuer = identity.subject, identity.issuer
    request.noted.asked_for(arn[:_LONGEST_ARN])
    assume = partial(
        state.sessions.assume_with_token,
        identity,
        arn,
        wanted,
        request_context(request, now),
    )
    assumed = await state.in_thread(assume)
    request.named, request.trust = assumed.arn, assumed.trust
    _note_session(request, assumed.credentials)
    _flag(state, request, assumed)
    # The session's name is the caller's choice; who it is, only the provider says.
    event(
        log,
        logging.INFO,
        "role taken with a token",
        request=request.id,
        role_session=assumed.arn,
        provider=identity.issuer,
        subject=identity.subject,
        access_key=assumed.credentials.access_key_id,
    )
    result = (
        f"{_render_assumed_role(assumed)}<Provider>{_text(identity.issuer)}</Provider>"
        f"<Audience>{_text(identity.audience)}</Audience>"
        f"<SubjectFromWebIdentityToken>{_text(identity.subject)}</SubjectFromWebIdentityToken>"
    )
    return _response(WEB_IDENTITY, result, request.id)


def _parameters(query: bytes, body: bytes) -> Parameters:
    """The parameters in the query and in a form body; a repeated one is refused."""
    parameters: dict[str, str] = {}
    for source in (query, body):
        try:
            pairs = parse_qsl(
                source.decode("ascii"), keep_blank_values=True, max_num_fields=100, errors="strict"
            )
        except ValueError:
            raise ValidationError(
                "The parameters are not a valid form (application/x-www-form-urlencoded)."
            ) from None
        for name, value in pairs:
            if name in parameters:
                raise ValidationError(f"The parameter {name[:60]} is given more than once.")
            parameters[name] = value
    return parameters


def _render_identity(state: AppState, principal: Principal) -> str:
    subject = principal_context(principal, state.settings.account_id, state.settings.region)
    return (
        f"<Arn>{_text(principal.arn)}</Arn><UserId>{_text(subject['aws:userid'])}</UserId>"
        f"<Account>{state.settings.account_id}</Account>"
    )


def _refuse_unsupported(parameters: Parameters) -> None:
    refused = [name for name in parameters if name.partition(".")[0] in _UNSUPPORTED]
    if refused:
        raise ValidationError(
            f"{refused[0]} is not supported: give session policies inline, in Policy, and leave it out."
            if refused[0].startswith("PolicyArns")
            else f"{refused[0]} is not supported here. Leave it out."
        )


def _duration(parameters: Parameters) -> int | None:
    duration = parameters.get("DurationSeconds")
    if duration is None:
        return None
    if not (duration.isascii() and duration.isdigit() and len(duration) <= 9):
        raise ValidationError(f"DurationSeconds must be a number of seconds, not {duration[:60]!r}")
    return int(duration)


def _session_token(
    state: AppState, principal: Principal, parameters: Parameters, request: Request, now: int
) -> str:
    _refuse_unsupported(parameters)
    made = state.key_sessions.of_key(principal, now, _duration(parameters) or KEY_SESSION_SECONDS)
    _note_session(request, made.credentials)
    return _render_credentials(made.credentials, made.session_token, made.expires_at)


def _assume(state: AppState, principal: Principal, parameters: Parameters, request: Request, now: int) -> str:
    parameters, reason = _reason(parameters)
    _refuse_unsupported(parameters)
    arn = _required(parameters, "RoleArn")
    request.noted.asked_for(arn[:_LONGEST_ARN])
    assumed = state.sessions.assume(
        principal,
        arn,
        WantedSession(
            _required(parameters, "RoleSessionName"),
            _duration(parameters),
            parameters.get("Policy"),
            parameters.get("ExternalId"),
            reason,
        ),
        request_context(request, now),
    )
    request.decided(assumed.decisions)
    request.trust = assumed.trust
    _flag(state, request, assumed)
    _note_session(request, assumed.credentials, assumed.arn)
    return _render_assumed_role(assumed)


def _reason(parameters: Parameters) -> tuple[Parameters, str | None]:
    """The session tag that says why a role for emergencies is taken, and the other parameters.

    It is the only tag that may be given: it allows nothing, and no policy can ask for it.
    """
    tag = {name: value for name, value in parameters.items() if name.startswith("Tags.member.1.")}
    if tag.get("Tags.member.1.Key") != REASON_TAG or "Tags.member.1.Value" not in tag:
        return parameters, None
    reason = tag["Tags.member.1.Value"].strip()
    if not reason or len(reason) > _LONGEST_REASON or not reason.isprintable():
        raise ValidationError(
            f"The tag {REASON_TAG} must have 1 to {_LONGEST_REASON} characters that can be printed"
        )
    return {name: value for name, value in parameters.items() if name not in tag}, reason


def _flag(state: AppState, request: Request, assumed: AssumedRole) -> None:
    """Tell that a role was taken for an emergency. The reason is on record only: it may be about somebody."""
    if not assumed.emergency:
        return
    request.noted.emergency, request.noted.reason = True, assumed.reason
    state.recorder.count("lightwell_emergency_total", "session", 1)
    event(
        log,
        logging.WARNING,
        "a role was taken for an emergency",
        request=request.id,
        role=assumed.arn.split("/")[1],
        access_key=assumed.credentials.access_key_id,
    )


def _note_session(request: Request, made: Credentials, arn: str = "") -> None:
    """Put on record by which access key the new session will be seen."""
    request.noted.changed(f"session {made.access_key_id}{f' of {arn}' if arn else ''}")


def _required(parameters: Parameters, name: str) -> str:
    if not parameters.get(name):
        member = name[0].lower() + name[1:]
        raise ValidationError(
            f"1 validation error detected: Value null at '{member}' failed to satisfy constraint: "
            "Member must not be null"
        )
    return parameters[name]


def _render_assumed_role(assumed: AssumedRole) -> str:
    packed = "" if assumed.packed is None else f"<PackedPolicySize>{assumed.packed}</PackedPolicySize>"
    return (
        f"<AssumedRoleUser><AssumedRoleId>{_text(assumed.id)}</AssumedRoleId><Arn>{_text(assumed.arn)}</Arn>"
        "</AssumedRoleUser>"
        f"{_render_credentials(assumed.credentials, assumed.session_token, assumed.expires_at)}{packed}"
    )


def _render_credentials(credentials: Credentials, session_token: str, expires_at: int) -> str:
    end = datetime.fromtimestamp(expires_at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        "<Credentials>"
        f"<AccessKeyId>{credentials.access_key_id}</AccessKeyId>"
        f"<SecretAccessKey>{credentials.secret_access_key}</SecretAccessKey>"
        f"<SessionToken>{session_token}</SessionToken><Expiration>{end}</Expiration>"
        "</Credentials>"
    )


def _response(action: str, result: str, request_id: str) -> Response:
    body = (
        f'<{action}Response xmlns="{_NAMESPACE}"><{action}Result>{result}</{action}Result>'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
    )
    return _xml(200, body)


def _xml(status: int, body: str) -> Response:
    response = plain(status, body.encode(), b"text/xml")
    # Browsers show XML as a document.
    response.headers.append((b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"))
    return response


def _text(text: str) -> str:
    return escape("".join(c if c.isprintable() else " " for c in text[:2048]))
