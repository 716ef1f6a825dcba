"""Client tokens: the answers to requests that may be sent twice.

The answer is made before the work, as its ids are, so that claiming the token can come first in the
transaction: of two transactions with the same token the second waits for the first and then finds its
answer.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from lightwell.errors import LightwellError
from lightwell.stores.db.bulk import insert_missing
from lightwell.stores.db.tables import token as table


class TokenReused(LightwellError):
    """The client token was used before with other parameters."""


def claim(
    conn: Connection,
    *,
    operation: str,
    account: str,
    token: str,
    request_hash: bytes,
    answer: bytes,
    now: int,
) -> bytes | None:
    """None if the token is new: it is now the caller's, and ``answer`` is stored with it.

    Otherwise the answer that the same request got before. Raises `TokenReused` if the token was used with
    another request. Tokens are kept for as long as ``keep_client_tokens`` says, in which a repeated request
    creates nothing twice.
    """
    row = {
        "operation": operation,
        "account": account,
        "token": token,
        "request_hash": request_hash,
        "answer": answer,
        "created_at": now,
    }
    insert_missing(conn, table, [row], ["operation", "account", "token"])
    kept = conn.execute(
        select(table.c.request_hash, table.c.answer).where(
            table.c.operation == operation, table.c.account == account, table.c.token == token
        )
    ).one()
    if bytes(kept.request_hash) != request_hash:
        raise TokenReused(
            "The clientToken was used before with other parameters. Use a new clientToken for a new request."
        )
    found = bytes(kept.answer)
    return None if found == answer else found
