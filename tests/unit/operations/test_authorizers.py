"""Which authorizer a data store has, on both databases, and how soon a change of it is seen."""

from __future__ import annotations

import pytest

from lightwell.domain.arn import builtin_authorizer_arn
from lightwell.domain.datastore import DataStore
from lightwell.domain.recent import FRESH_MS
from lightwell.domain.states import DatastoreStatus, StorageFormat
from lightwell.errors import NotFoundError
from lightwell.operations.authorizers import AuthorizerBindings, set_authorizer
from lightwell.stores.account import authorizers, datastores
from lightwell.stores.db.database import Database

REGION, ACCOUNT = "us-east-1", "000000000000"
BUILTIN = builtin_authorizer_arn(REGION, ACCOUNT)
STORE = "a" * 32


def insert(db: Database, status: DatastoreStatus = DatastoreStatus.ACTIVE) -> None:
    store = DataStore(
        key=1,
        id=STORE,
        name="reading",
        status=status,
        storage_format=StorageFormat.HTJ2K,
        kms_key_arn=None,
        lambda_authorizer_arn=None,
        created_at=1000,
        updated_at=1000,
    )
    db.write(lambda conn: datastores.insert(conn, store))


def test_sees_another_authorizer_within_seconds(database: Database) -> None:
    insert(database)
    bindings = AuthorizerBindings(database, REGION, ACCOUNT)
    first = bindings.load(STORE, 0)
    assert first is not None and (first.arn, first.is_builtin) == (None, False)
    set_authorizer(database, STORE, BUILTIN, 5000)
    assert bindings.cached(STORE, FRESH_MS - 1) is first and bindings.cached(STORE, FRESH_MS) is None
    second = bindings.load(STORE, FRESH_MS)
    assert second is not None and (second.arn, second.is_builtin, second.is_foreign) == (BUILTIN, True, False)
    # Even if the clock was set back, what was minted before is withdrawn.
    set_authorizer(database, STORE, BUILTIN, 5)
    third = bindings.load(STORE, 2 * FRESH_MS)
    assert third is not None and third.datastore_revision > second.datastore_revision > 1000


def test_leaves_the_name_to_a_function_that_had_it_before(database: Database) -> None:
    insert(database)
    set_authorizer(database, STORE, BUILTIN, 5000)
    database.write(lambda conn: authorizers.put(conn, BUILTIN, "python:a:b", 1))
    binding = AuthorizerBindings(database, REGION, ACCOUNT).load(STORE, 0)
    assert binding is not None and (binding.is_builtin, binding.target) == (False, "python:a:b")
    elsewhere = AuthorizerBindings(database, "eu-west-1", ACCOUNT).load(STORE, 0)
    assert elsewhere is not None and (elsewhere.is_builtin, elsewhere.is_foreign) == (False, True)


@pytest.mark.parametrize("status", [DatastoreStatus.DELETED, None])
def test_gives_no_authorizer_to_what_is_not_there(database: Database, status: DatastoreStatus | None) -> None:
    if status is not None:
        insert(database, status)
    with pytest.raises(NotFoundError):
        set_authorizer(database, STORE, BUILTIN, 1)
