"""Data stores as command lines name them: by ID or by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lightwell.cli import command_trail
from lightwell.domain.states import DatastoreStatus
from lightwell.errors import ConfigurationError, LightwellError
from lightwell.stores.account import datastores

if TYPE_CHECKING:
    from lightwell.domain.datastore import DataStore
    from lightwell.operations.context import Context
    from lightwell.stores import Stores
    from lightwell.stores.db.database import Database

_PAGE = 100
_SHOWN = 5  # names of data stores in a message


def find(ctx: Context, name_or_id: str) -> DataStore | None:
    """The ACTIVE data store with this ID, else the only one with this name; None if there is neither."""
    return _find(ctx.stores.db, name_or_id)


def _find(db: Database, name_or_id: str) -> DataStore | None:
    """It is on record then that the command that runs was about it."""
    found = _look_up(db, name_or_id)
    command = command_trail.current()
    if found is not None and command is not None:
        command.note.store = found.id
    return found


def _look_up(db: Database, name_or_id: str) -> DataStore | None:
    with db.read() as conn:
        by_id = datastores.get(conn, name_or_id)
        named = [
            store
            for store in datastores.find_by_name(conn, name_or_id)
            if store.status == DatastoreStatus.ACTIVE
        ]
    if by_id is not None and by_id.status == DatastoreStatus.ACTIVE:
        return by_id
    if len(named) > 1:
        ids = ", ".join(store.id for store in named)
        raise ConfigurationError(
            f"{len(named)} data stores are named {name_or_id}; give the ID of one instead: {ids}"
        )
    return named[0] if named else None


def existing(ctx: Context, name_or_id: str) -> DataStore:
    """The same, or `LightwellError` with the names of some that exist."""
    return existing_in(ctx.stores.db, name_or_id)


def existing_in(db: Database, name_or_id: str) -> DataStore:
    """The same for a command that needs the database alone."""
    found = _find(db, name_or_id)
    if found is None:
        raise LightwellError(f"There is no data store {name_or_id}; {_some_names(db)}")
    return found


def chosen(ctx: Context, name_or_id: str | None) -> list[DataStore]:
    """The named data store; without a name all that are ACTIVE, newest first."""
    if name_or_id is not None:
        return [existing(ctx, name_or_id)]
    return list(each_store(ctx, DatastoreStatus.ACTIVE))


def each_store(ctx: Context, status: DatastoreStatus | None) -> Iterator[DataStore]:
    """The data stores with this status, or all that there ever were, newest first."""
    after = None
    while True:
        with ctx.stores.db.read() as conn:
            page = datastores.page(conn, status=status, after=after, limit=_PAGE)
        if not page:
            return
        yield from page
        after = page[-1].created_at, page[-1].key


def find_or_create(ctx: Context, name_or_id: str, *, authorizer: str | None = None) -> DataStore:
    """The data store with this ID or name; created with this name and authorizer if there is none."""
    return find(ctx, name_or_id) or create(ctx, name_or_id, authorizer=authorizer)


def create(ctx: Context, name: str, *, authorizer: str | None = None) -> DataStore:
    """Create a data store; ``authorizer`` is the ARN of its Lambda authorizer."""
    from lightwell.operations.datastores import create_datastore
    from lightwell.wire.shapes import CreateDatastoreRequest

    if not re.fullmatch(r"[A-Za-z0-9._/#-]{1,256}", name):
        raise ConfigurationError(f"{name!r} is not a valid data store name: use letters, digits and ._/#-")
    made = create_datastore(
        ctx,
        CreateDatastoreRequest(
            client_token=ctx.ids.id(), datastore_name=name, lambda_authorizer_arn=authorizer
        ),
    )
    with ctx.stores.db.read() as conn:
        store = datastores.get(conn, made.datastore_id)
    assert store is not None
    return store


def existing_stores(stores: Stores) -> str:
    """The names of the first few data stores, for someone who gave a name that does not exist."""
    return _some_names(stores.db)


def _some_names(db: Database) -> str:
    with db.read() as conn:
        found = datastores.page(conn, status=DatastoreStatus.ACTIVE, after=None, limit=_SHOWN + 1)
    names = ", ".join(store.name or store.id for store in found[:_SHOWN])
    if not names:
        return "there are none yet: `lightwell import` creates one"
    return f"existing data stores: {names}{' and others' if len(found) > _SHOWN else ''}"
