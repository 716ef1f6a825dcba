"""The functions that authorize bearer tokens: what answers for them, and which data stores name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightwell.domain.arn import builtin_authorizer_arn, function_fault
from lightwell.errors import ConflictError, NotFoundError, ValidationError
from lightwell.operations.context import Context
from lightwell.stores.account import authorizers, datastores

if TYPE_CHECKING:
    from sqlalchemy import Connection

BUILTIN = "builtin"
_PYTHON = "python:"


@dataclass(frozen=True, slots=True)
class AuthorizerFunction:
    """A function and its target, None if nothing answers for it, `BUILTIN` for the server's own.

    ``datastores`` are the ids and names of data stores that name it. Times are milliseconds, 0 without a row.
    """

    arn: str
    target: str | None
    created_at: int
    updated_at: int
    datastores: tuple[tuple[str, str], ...]


def list_authorizers(ctx: Context) -> list[AuthorizerFunction]:
    """All functions that have a target or that a data store names, and the built-in one, by ARN."""
    with ctx.stores.db.read() as conn:
        known = {each.arn: each for each in authorizers.page(conn)}
        named = datastores.with_authorizers(conn)
    builtin = builtin_authorizer_arn(ctx.settings.region, ctx.settings.account_id)
    users: dict[str, list[tuple[str, str]]] = {}
    for arn, id, name in named:
        users.setdefault(arn, []).append((id, name))
    found = []
    for arn in sorted({*known, *users, builtin}):
        row = known.get(arn)
        target = row.target if row is not None else BUILTIN if arn == builtin else None
        times = (0, 0) if row is None else (row.created_at, row.updated_at)
        found.append(AuthorizerFunction(arn, target, *times, tuple(users.get(arn, ()))))
    return found


def put_authorizer(ctx: Context, arn: str, target: str, *, is_new: bool = False) -> str | None:
    """Set what answers for a function; ``target`` is a valid one. With the one that it has: reload its code.

    Returns the target that it had, None if it had none.

    ``is_new``: only if nothing answers yet. A target in Python is code of this machine, so whoever may run
    commands on it has to name it first. Raises `ValidationError` and `ConflictError`.
    """
    settings = ctx.settings
    if (fault := function_fault(arn, settings.region, settings.account_id)) is not None:
        raise ValidationError(f"{fault}.")
    if arn == builtin_authorizer_arn(settings.region, settings.account_id):
        raise ConflictError("The built-in authorizer is part of the server and cannot have a target.")
    now = ctx.clock.now()

    def work(conn: Connection) -> str | None:
        known = authorizers.get(conn, arn)
        if is_new and known is not None:
            raise ConflictError(f"{known.target} answers for {arn} already. Change it in the list.")
        if target.startswith(_PYTHON) and (known is None or known.target != target):
            raise ValidationError(
                "A target in Python runs code of the server's machine, so it is named on that machine: "
                "`lightwell authorizer put ARN python:PACKAGE.MODULE:FUNCTION`."
            )
        authorizers.put(conn, arn, target, now)
        return None if known is None else known.target

    return ctx.stores.db.write(work)


def delete_authorizer(ctx: Context, arn: str) -> str:
    """Remove the target of a function, and return it: tokens for its data stores are refused.

    Raises `NotFoundError`.
    """
    target = ctx.stores.db.write(lambda conn: authorizers.remove(conn, arn))
    if target is None:
        raise NotFoundError(f"{arn[:200]} has no target.")
    return target
