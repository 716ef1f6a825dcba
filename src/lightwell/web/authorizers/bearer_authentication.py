"""From a bearer token to a principal: call the data store's authorizer, and assume the role that it names.

Source: devguide/dicomweb-oidc ("How OIDC authentication works", "Exception Codes").
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from lightwell.auth import lambda_authorizer
from lightwell.auth.bearer_token import Token, invalid_token, is_viewer_token, read_token
from lightwell.auth.lambda_authorizer import AuthorizerDecision, AuthorizerFailure, HttpTarget
from lightwell.auth.principals import Principal
from lightwell.auth.roles import RoleError, Roles, ServicePrincipal
from lightwell.domain.recent import Recent
from lightwell.errors import ApiError, ConfigurationError, NotFoundError, ValidationError
from lightwell.observe.logs import event
from lightwell.operations.authorizers import AuthorizerBinding, AuthorizerBindings
from lightwell.settings import Settings
from lightwell.web.authorizers.http_function import HttpFunction
from lightwell.web.authorizers.python_function import PythonFunction
from lightwell.web.authorizers.target_hosts import target_hosts
from lightwell.web.authorizers.viewer_sessions import ViewerSessions

if TYPE_CHECKING:
    from lightwell.auth.builtin_authorizer import BuiltinAuthorizer

log = logging.getLogger(__name__)

SERVICE = "medical-imaging.amazonaws.com"
_ID = re.compile(r"[0-9a-z]{32}")
_MAX_CACHED = 4_096
_UNAUTHORIZED = "401"

T = TypeVar("T")


class BearerAuthentication:
    """Finds out who the bearer of a token is, in one HTTP worker."""

    def __init__(
        self,
        settings: Settings,
        bindings: AuthorizerBindings,
        roles: Roles,
        threads: Executor,
        load_builtin: Callable[[], BuiltinAuthorizer],
        viewers: ViewerSessions,
    ) -> None:
        """``load_builtin`` makes the server's own authorizer when it is first needed; it may block."""
        self._settings = settings
        self._hosts = target_hosts(settings.authorizer_hosts)
        self.viewers = viewers
        self._load_builtin = load_builtin
        self._builtin: BuiltinAuthorizer | None = None
        self._bindings = bindings
        self._roles = roles
        self._threads = threads
        # By the ARN that a data store names, with the revision of its target.
        self._functions: dict[str, tuple[int, HttpFunction | PythonFunction]] = {}
        self._decisions: Recent[bytes, AuthorizerDecision] = Recent(
            _MAX_CACHED, settings.authorizer_cache * 1000
        )
        self._principals: Recent[tuple[str, str, str], Principal] = Recent(_MAX_CACHED)

    async def principal(
        self,
        headers: Sequence[tuple[bytes, bytes]],
        datastore_id: str,
        operation: str,
        *,
        request: str,
        now: int,
        client: str | None = None,
    ) -> Principal:
        """Who requests ``operation`` of the data store; ``request`` is the id of the request.

        ``client`` is the network that it comes from. Nothing is looked up for what cannot be a token. Raises
        the `ApiError` that AWS's table of exception codes lists for what is wrong.
        """
        if not _ID.fullmatch(datastore_id):
            raise ValidationError(
                f"{datastore_id[:64]!r} is not a data store ID: it must be 32 digits and lower-case letters."
            )
        if is_viewer_token(_authorization(headers)):
            return await self.viewers.principal(headers, datastore_id, operation, now)
        token = read_token(
            headers,
            now,
            self._settings.authorizer_leeway,
            tell_expired=self._settings.expired_token_status == _UNAUTHORIZED,
        )
        binding = self._bindings.cached(datastore_id, now)
        if binding is None:
            binding = await self._in_thread(partial(self._bindings.load, datastore_id, now))
        if binding is None:
            raise NotFoundError(f"Datastore {datastore_id} does not exist.")
        if binding.is_builtin:
            if self._builtin is None:
                self._builtin = await self._in_thread(self._load_builtin)
            return self._builtin.principal(token, binding.datastore_arn, binding.datastore_revision, now)
        try:
            call = partial(self._function(binding).call, request=request, client=client)
            decision = await self._decide(call, binding, token, datastore_id, operation, now)
            if not decision.is_token_valid:
                raise invalid_token()
            if not decision.role_arn:
                raise lambda_authorizer.denied()
            return await self._assume(decision.role_arn, token.session, binding, now)
        except AuthorizerFailure as failure:
            error = failure.api_error()
            self._log_failure(binding, request, failure, error)
            raise error from None

    async def close(self) -> None:
        """Stop all functions, while the event loop is still running."""
        functions, self._functions = list(self._functions.values()), {}
        for _, function in functions:
            function.close()
        for _, function in functions:
            await function.closed()

    # The function

    def _function(self, binding: AuthorizerBinding) -> HttpFunction | PythonFunction:
        """The function that is the data store's authorizer. Raises `AuthorizerFailure`."""
        arn = binding.arn
        if arn is None:
            raise AuthorizerFailure("misconfigured", "the data store has no authorizer")
        if binding.is_foreign:
            raise AuthorizerFailure("foreign", f"{arn} belongs to another account or Region than this server")
        cached = self._functions.get(arn)
        if cached is not None and cached[0] == binding.revision:
            return cached[1]
        if cached is not None:
            del self._functions[arn]
            cached[1].close()
        if binding.target is None:
            raise AuthorizerFailure(
                "misconfigured", f"{arn} has no target: set one with `lightwell authorizer put`"
            )
        try:
            target = lambda_authorizer.parse_target(binding.target)
        except ConfigurationError as error:
            raise AuthorizerFailure("misconfigured", str(error)) from None
        if isinstance(target, HttpTarget):
            function: HttpFunction | PythonFunction = HttpFunction(target, self._hosts)
        else:
            function = PythonFunction(target, arn, self._settings)
        self._functions[arn] = binding.revision, function
        return function

    async def _decide(
        self,
        call: Callable[[bytes], Coroutine[Any, Any, bytes]],
        binding: AuthorizerBinding,
        token: Token,
        datastore_id: str,
        operation: str,
        now: int,
    ) -> AuthorizerDecision:
        """The authorizer's decision, within its second. Raises `AuthorizerFailure`."""
        payload = lambda_authorizer.event(datastore_id, operation, token.text)
        cache_seconds = self._settings.authorizer_cache
        key = b""
        if cache_seconds:
            key = hashlib.sha256(b"%d %s" % (binding.revision, payload)).digest()
            cached = self._decisions.get(key, now)
            if cached is not None:
                return cached
        result = await _with_timeout(lambda_authorizer.SECONDS, call(payload))
        decision = lambda_authorizer.read_decision(result)
        if cache_seconds and decision.is_token_valid and decision.role_arn:
            self._decisions.put(key, decision, now)
        return decision

    # The role

    async def _assume(self, role: str, session: str, binding: AuthorizerBinding, now: int) -> Principal:
        key = (role, session, binding.datastore_arn)
        cached = self._principals.get(key, now)
        if cached is not None:
            return cached
        assume_role = partial(
            self._roles.assume,
            role,
            ServicePrincipal(SERVICE, binding.datastore_arn),
            session=session,
            now=now,
        )
        try:
            taken = assume_role() if self._roles.is_cached(role, now) else await self._in_thread(assume_role)
        except RoleError as error:
            kind: lambda_authorizer.Kind = "foreign" if error.kind == "foreign" else "misconfigured"
            raise AuthorizerFailure(kind, str(error)) from None
        self._principals.put(key, taken.principal, now)
        return taken.principal

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _log_failure(
        self, binding: AuthorizerBinding, request: str, failure: AuthorizerFailure, error: ApiError
    ) -> None:
        event(
            log,
            logging.WARNING,
            "authorizer gave no role",
            request=request,
            authorizer=binding.arn,
            status=error.status,
            reason=failure.reason[:500],
        )


def _authorization(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    return next((value for name, value in headers if name == b"authorization"), b"")


async def _with_timeout(seconds: float, call: Coroutine[Any, Any, bytes]) -> bytes:
    """The result of ``call``, which may take ``seconds``. Raises `AuthorizerFailure`.

    `asyncio.timeout` needs a task, and a request may run outside one (`web.http1.response_cycle`).
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(call)
    is_late = False

    def give_up() -> None:
        nonlocal is_late
        is_late = not task.done()
        task.cancel()

    timer = loop.call_later(seconds, give_up)
    try:
        return await task
    except asyncio.CancelledError:
        if not is_late:
            raise
        raise AuthorizerFailure("late", f"no answer within {seconds:g} s") from None
    finally:
        timer.cancel()
