"""Sign-in at an OpenID provider: whom its tokens stand for, and what the console needs to know of it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightwell.errors import ApiError

if TYPE_CHECKING:
    from lightwell.auth.openid.id_token import TokenVerifier
    from lightwell.auth.openid.provider import Metadata, OpenIdProvider, Published
    from lightwell.auth.roles import WebIdentity
    from lightwell.settings import Settings

# Of their own: while the provider does not answer, whoever sends tokens must not hold up other requests.
_THREADS = 4
_MOST_WAITING = 200
# How long a page waits to learn where the provider's endpoints are.
_MOMENT_SECONDS = 2.0
_AWAY = "The identity provider does not answer. Try again in a moment; the server's log says what happened."
REDIRECT_PATH = "/console/callback"
"""Where the provider sends people back to: the redirect URI to register, after the server's own address."""


@dataclass(frozen=True, slots=True)
class ConsoleProvider:
    """What the console is told of the provider. Without endpoints, ``message`` says why there are none."""

    issuer: str
    client_id: str
    scope: str
    redirect_path: str = REDIRECT_PATH
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    end_session_endpoint: str | None = None
    message: str | None = None


class Federation:
    """The OpenID provider that the settings trust, in one HTTP process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="lightwell-openid")
        self._loaded: tuple[OpenIdProvider, TokenVerifier] | None = None
        self._asking: asyncio.Future[ConsoleProvider] | None = None
        self._waiting = 0

    @property
    def is_configured(self) -> bool:
        return self._settings.oidc_issuer is not None

    async def verify(self, token: str, now: int) -> WebIdentity:
        """Who bears the token; ``now`` is milliseconds since the epoch. Raises a `WebIdentityError`."""
        if not self.is_configured:
            from lightwell.auth.openid.errors import InvalidIdentityTokenError

            raise InvalidIdentityTokenError(
                "No OpenIDConnect provider found in your account: the setting oidc_issuer names one"
            )
        if self._waiting >= _MOST_WAITING:
            from lightwell.auth.openid.errors import ProviderUnreachableError

            raise ProviderUnreachableError("Too many tokens wait to be verified. Try again in a moment.")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._verify, token, now)
        finally:
            self._waiting -= 1

    async def console(self) -> ConsoleProvider | None:
        """What the console needs to send people to the provider; None if the settings name none.

        Waits a moment for the provider, and says that it is away if that is not enough: there are other ways
        to sign in.
        """
        if not self.is_configured:
            return None
        return await self._asked() or self._described(None, _AWAY)

    async def origins(self) -> tuple[str, ...]:
        """The origins that the console's page must be able to call, as far as is known within a moment."""
        issuer = self._settings.oidc_issuer
        if issuer is None:
            return ()
        from lightwell.auth.openid.provider import origin

        known = self._known()
        if known is None:
            asked = self._asking_now()
            # Who comes while the provider is away waits no longer than the first one did.
            if self._loaded is None or not self._loaded[0].has_failed():
                await asyncio.wait((asked,), timeout=_MOMENT_SECONDS)
            known = self._known()
        found = {origin(issuer)}
        if known is not None and known.metadata.token_endpoint is not None:
            found.add(origin(known.metadata.token_endpoint))
        return tuple(sorted(found))

    async def _asked(self) -> ConsoleProvider | None:
        """What `_console` returns, None if that takes too long. All who ask meanwhile wait for the same."""
        done, _ = await asyncio.wait((self._asking_now(),), timeout=_MOMENT_SECONDS)
        return next((each.result() for each in done), None)

    def _asking_now(self) -> asyncio.Future[ConsoleProvider]:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().run_in_executor(self._threads, self._console)
        return self._asking

    def _known(self) -> Published | None:
        return None if self._loaded is None else self._loaded[0].known()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, token: str, now: int) -> WebIdentity:
        return self._load()[1].verify(token, now)

    def _console(self) -> ConsoleProvider:
        try:
            metadata = self._load()[0].published().metadata
        except ApiError as error:
            return self._described(None, error.message)
        if not (metadata.authorization_endpoint and metadata.token_endpoint):
            return self._described(metadata, "The provider says of no way to sign in by a browser.")
        return self._described(metadata, None)

    def _described(self, metadata: Metadata | None, message: str | None) -> ConsoleProvider:
        settings = self._settings
        return ConsoleProvider(
            settings.oidc_issuer or "",
            settings.oidc_client_id or "",
            settings.oidc_scope,
            authorization_endpoint=None if metadata is None else metadata.authorization_endpoint,
            token_endpoint=None if metadata is None else metadata.token_endpoint,
            end_session_endpoint=None if metadata is None else metadata.end_session_endpoint,
            message=message,
        )

    def _load(self) -> tuple[OpenIdProvider, TokenVerifier]:
        # Loaded by the first use: most servers have no provider.
        if self._loaded is None:
            from lightwell.auth.openid.id_token import TokenVerifier
            from lightwell.auth.openid.provider import OpenIdProvider

            settings = self._settings
            provider = OpenIdProvider(settings.oidc_issuer or "", settings.oidc_ca)
            verifier = TokenVerifier(provider, settings.oidc_clients, settings.authorizer_leeway)
            self._loaded = provider, verifier
        return self._loaded
