"""Sign-in at an OpenID provider: whom its tokens stand for, and what the console needs to know of it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypedDict

from lightwell.errors import ApiError

if TYPE_CHECKING:
    from lightwell.auth.openid.id_token import TokenVerifier
    from lightwell.auth.openid.provider import OpenIdProvider
    from lightwell.auth.roles import WebIdentity
    from lightwell.settings import Settings

# Of their own: while the provider does not answer, whoever sends tokens must not hold up other requests.
_THREADS = 4
_MOST_WAITING = 200
REDIRECT_PATH = "/console/callback"
"""Where the provider sends people back to: the redirect URI to register, after the server's own address."""


class ConsoleProvider(TypedDict):
    """What the console is told. Without endpoints, ``message`` says why there are none."""

    issuer: str
    clientId: str
    scope: str
    redirectPath: str
    authorizationEndpoint: str | None
    tokenEndpoint: str | None
    endSessionEndpoint: str | None
    message: str | None


class Federation:
    """The OpenID provider that the settings trust, in one HTTP process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="lightwell-openid")
        self._loaded: tuple[OpenIdProvider, TokenVerifier] | None = None
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
        """What the console needs to send people to the provider; None if the settings name none."""
        if not self.is_configured:
            return None
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._console)

    def origins(self) -> tuple[str, ...]:
        """The origins that the console's page must be able to call, as far as is known. Never blocks."""
        issuer = self._settings.oidc_issuer
        if issuer is None:
            return ()
        from lightwell.auth.openid.provider import origin

        found = {origin(issuer)}
        known = None if self._loaded is None else self._loaded[0].known()
        if known is not None and known.metadata.token_endpoint is not None:
            found.add(origin(known.metadata.token_endpoint))
        return tuple(sorted(found))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, token: str, now: int) -> WebIdentity:
        return self._load()[1].verify(token, now)

    def _console(self) -> ConsoleProvider:
        settings, message = self._settings, None
        metadata = None
        try:
            metadata = self._load()[0].published().metadata
        except ApiError as error:
            message = error.message
        if metadata is not None and not (metadata.authorization_endpoint and metadata.token_endpoint):
            message = "The provider has no authorization endpoint, so nobody can sign in there by a browser."
        return {
            "issuer": settings.oidc_issuer or "",
            "clientId": settings.oidc_client_id or "",
            "scope": settings.oidc_scope,
            "redirectPath": REDIRECT_PATH,
            "authorizationEndpoint": None if metadata is None else metadata.authorization_endpoint,
            "tokenEndpoint": None if metadata is None else metadata.token_endpoint,
            "endSessionEndpoint": None if metadata is None else metadata.end_session_endpoint,
            "message": message,
        }

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
