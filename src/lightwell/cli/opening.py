"""Opening the stores for a verb that works with the server up or down."""

from __future__ import annotations

import pwd
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lightwell.context import Caller, Clock, Context, Ids
from lightwell.errors import LightwellError
from lightwell.settings import Settings
from lightwell.stores import Stores, modes, open_stores
from lightwell.stores.database import Database
from lightwell.stores.modes import Open
from lightwell.stores.schema import migrate, schema_state


def close_to_others(settings: Settings, *, warn: bool = False) -> None:
    """Take from other users what they may read of the data, and say so; with ``warn`` also what is left."""
    for found in modes.mend(settings):
        if found.is_mended or warn:
            print(f"lightwell: {openness(found)}", file=sys.stderr)


def openness(found: Open) -> str:
    """What was or is too open, for a person."""
    if found.is_mended:
        return f"others could read {found.path} (mode {found.mode:04o}); now only this user can"
    return (
        f"others may read {found.path} (mode {found.mode:04o}), which {user_name(found.owner)} owns and "
        f"lightwell may not change: let {user_name(found.owner)} or root run `chmod go= {found.path}`"
    )


def user_name(user: int) -> str:
    """The name of a user id; the id where it has none."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


@contextmanager
def opened(settings: Settings, *, make: bool = False) -> Iterator[Stores]:
    """The stores, closed at the end. With ``make`` a missing or older database is brought up to date."""
    if not make and not settings.data.exists():
        raise LightwellError(
            f"There is no data folder {settings.data}: check --data, or import something first"
        )
    close_to_others(settings)
    stores = open_stores(settings)
    try:
        state = schema_state(stores.db)
        if state != "current":
            if not make:
                raise LightwellError(
                    f"The database of {settings.data} is {state}: start `lightwell serve` on it once"
                )
            migrate(stores.db)
        yield stores
    finally:
        stores.close()


@contextmanager
def opened_database(settings: Settings) -> Iterator[Database]:
    """The database alone, closed at the end; it must have the current schema."""
    close_to_others(settings)
    db = Database(settings.database)
    try:
        if schema_state(db) != "current":
            raise LightwellError(
                f"The database {db.address} is not ready: start `lightwell serve` on it once, or check --data"
            )
        yield db
    finally:
        db.close()


def local_context(settings: Settings, stores: Stores) -> Context:
    """A context whose caller is the account's root: who can open the stores may do everything."""
    caller = Caller(settings.account_id, f"arn:aws:iam::{settings.account_id}:root", "")
    return Context(stores=stores, settings=settings, clock=Clock(), ids=Ids(), caller=caller)
