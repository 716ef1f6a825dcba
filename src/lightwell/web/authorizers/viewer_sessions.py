"""Viewers that act for a session of the console, by its tokens (`auth.viewer_token`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING

from lightwell.auth.bearer_token import invalid_token, read_token
from lightwell.errors import AccessDeniedError

if TYPE_CHECKING:
    from lightwell.auth.principals import Principal, Principals
    from lightwell.auth.viewer_token import ViewerTokens


class RefusedViewerError(AccessDeniedError):
    """A viewer may not do that, whatever ``principal`` may, for whose session it acts."""

    def __init__(self, message: str, principal: Principal) -> None:
        super().__init__(message)
        self.principal = principal


class ViewerSessions:
    """The viewers of one HTTP process."""

    def __init__(
        self, principals: Principals, threads: Executor, load: Callable[[], ViewerTokens], leeway: int
    ) -> None:
        """``load`` makes what mints and reads the tokens when it is first needed; it may block."""
        self._principals = principals
        self._threads = threads
        self._load = load
        self._leeway = leeway
        self._loaded: ViewerTokens | None = None

    async def began(self, headers: Sequence[tuple[bytes, bytes]], datastore_id: str, now: int) -> int:
        """When the first of a viewer's tokens was made, in epoch seconds.

        Raises `AccessDeniedError` if that is so long ago that the token cannot be renewed.
        """
        from lightwell.auth.viewer_token import RENEWED_SECONDS

        token = read_token(headers, now, self._leeway, tell_expired=True)
        began = (await self.tokens()).began(token, datastore_id)
        if now // 1000 >= began + RENEWED_SECONDS:
            raise AccessDeniedError(
                f"The token was renewed for {RENEWED_SECONDS // 3600} hours, which is the longest: open the "
                "viewer again in the console."
            )
        return began

    async def principal(
        self, headers: Sequence[tuple[bytes, bytes]], datastore_id: str, operation: str, now: int
    ) -> Principal:
        """Whose session a viewer acts for; ``now`` is milliseconds since the epoch.

        Raises `AccessDeniedError`, one of which is `RefusedViewerError`, and `ExpiredTokenError` for a token
        that needs renewal only.
        """
        from lightwell.auth.viewer_token import may_use

        token = read_token(headers, now, self._leeway, tell_expired=True)
        id = (await self.tokens()).access_key_id(token, datastore_id)
        is_known, found = self._principals.cached(id, now)
        if not is_known:
            found = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._principals.load, id, now
            )
        if found is None or (found.expires_at is not None and now >= found.expires_at):
            raise invalid_token()
        if not may_use(operation):
            raise RefusedViewerError(f"A viewer of the console may not use {operation}.", found)
        return found

    async def tokens(self) -> ViewerTokens:
        """What mints and reads the tokens."""
        if self._loaded is None:
            self._loaded = await asyncio.get_running_loop().run_in_executor(self._threads, self._load)
        return self._loaded
