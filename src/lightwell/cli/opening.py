"""Opening the stores for a verb that works with the server up or down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lightwell.context import Caller, Clock, Context, Ids
from lightwell.errors import LightwellError
from lightwell.settings import Settings
from lightwell.stores import Stores, open_stores
from lightwell.stores.database import Database
from lightwell.stores.schema import migrate, schema_state


@contextmanager
def opened(settings: Settings, *, make: bool = False) -> Iterator[Stores]:
    """The stores, closed at the end. With ``make`` a missing or older database is brought up to date."""
    if not make and not settings.data.exists():
        raise LightwellError(
            f"There is no data folder {settings.data}: check --data, or import something first"
        )
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
