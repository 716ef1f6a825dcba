"""Which authorizer a data store has, and which target is configured for it; cached for a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightwell.domain.arn import builtin_authorizer_arn, datastore_arn, parse_function
from lightwell.domain.recent import Recent
from lightwell.domain.states import DatastoreStatus
from lightwell.errors import NotFoundError
from lightwell.stores.account import authorizers, datastores

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.stores.db.database import Database

_MOST_CACHED = 4_096


@dataclass(frozen=True, slots=True)
class AuthorizerBinding:
    """The authorizer of a data store; ``arn`` is None without one, ``target`` where none is configured for
    it.

    ``revision`` changes with each change of the target, ``datastore_revision`` whenever the data store gets
    an authorizer. ``is_foreign``: the ARN names another account or Region than the settings. ``is_builtin``:
    it names the server's own authorizer (`auth.builtin_authorizer`).
    """

    datastore_arn: str
    arn: str | None
    is_foreign: bool
    target: str | None
    revision: int
    datastore_revision: int = 0
    is_builtin: bool = False


class AuthorizerBindings:
    """Looks up bindings by data store id and caches them for `recent.FRESH_MS`; thread-safe."""

    def __init__(self, db: Database, region: str, account: str) -> None:
        self._db = db
        self._region = region
        self._account = account
        self._known: Recent[str, AuthorizerBinding] = Recent(_MOST_CACHED)

    def cached(self, datastore_id: str, now: int) -> AuthorizerBinding | None:
        """The cached binding; None: call `load`."""
        return self._known.get(datastore_id, now)

    def load(self, datastore_id: str, now: int) -> AuthorizerBinding | None:
        """The binding in the database; None if the data store does not exist. Blocks."""
        with self._db.read() as conn:
            named = authorizers.named_by(conn, datastore_id)
            if named is None:
                self._known.drop(datastore_id)
                return None
            arn, found = named.arn, None
            for spelling in _spellings(arn):
                found = found or authorizers.get(conn, spelling)
        function = None if arn is None else parse_function(arn)
        binding = AuthorizerBinding(
            datastore_arn(self._region, self._account, datastore_id),
            arn,
            function is None or (function.region, function.account) != (self._region, self._account),
            None if found is None else found.target,
            0 if found is None else found.updated_at,
            named.revision,
            arn == builtin_authorizer_arn(self._region, self._account) and found is None,
        )
        self._known.put(datastore_id, binding, now)
        return binding


def set_authorizer(db: Database, datastore_id: str, arn: str | None, now: int) -> str | None:
    """Give an existing data store an authorizer, or none; HealthImaging cannot do this. Returns what it had.

    It takes effect in every process within `recent.FRESH_MS`, and withdraws all tokens that the built-in
    authorizer accepted before. Raises `NotFoundError` unless the data store is ACTIVE.
    """

    def work(conn: Connection) -> str | None:
        store = datastores.get(conn, datastore_id, lock=True)
        if store is None or store.status != DatastoreStatus.ACTIVE:
            raise NotFoundError(f"Datastore {datastore_id} does not exist.")
        datastores.set_authorizer(conn, store, arn, now)
        return store.lambda_authorizer_arn

    return db.write(work)


def _spellings(arn: str | None) -> list[str]:
    """A target that is configured for a function also applies to its versions and aliases."""
    function = None if arn is None else parse_function(arn)
    if arn is None or function is None or function.qualifier is None:
        return [] if arn is None else [arn]
    return [arn, arn.removesuffix(f":{function.qualifier}")]
