"""Client tokens of requests that may be sent twice, with the API's error for a token that was reused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightwell.errors import ConflictError
from lightwell.operations.context import Context
from lightwell.stores.account import client_tokens
from lightwell.stores.account.client_tokens import TokenReused

if TYPE_CHECKING:
    from sqlalchemy import Connection


def claim(
    ctx: Context, conn: Connection, operation: str, token: str, request_hash: bytes, answer: str, now: int
) -> str | None:
    """The answer that the same request got before; None if the token is new, which stores ``answer`` with it.

    Raises `ConflictError` if the token was used with other parameters.
    """
    try:
        known = client_tokens.claim(
            conn,
            operation=operation,
            account=ctx.caller.account,
            token=token,
            request_hash=request_hash,
            answer=answer.encode(),
            now=now,
        )
    except TokenReused as error:
        raise ConflictError(str(error)) from None
    return None if known is None else known.decode()
