"""Which authorizer a data store has, and what stands for it; remembered for a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightwell.domain.arn import datastore_arn, parse_function
from lightwell.stores.account import authorizers

if TYPE_CHECKING:
    from lightwell.stores.db.database import Database

FRESH_MS = 2_000
"""What ``lightwell authorizer`` changes holds everywhere within this time."""
_MOST = 4_096


@dataclass(frozen=True, slots=True)
class Binding:
    """The authorizer of a data store; ``arn`` is None without one, ``target`` where nothing stands for it.

    ``revision`` is another after each change of the target; ``is_foreign`` where the ARN is of another
    account or Region than the settings are now.
    """

    datastore_arn: str
    arn: str | None
    is_foreign: bool
    target: str | None
    revision: int


class Bindings:
    """Look-up by data store id, cached for `FRESH_MS`; safe to use from several threads."""

    def __init__(self, db: Database, region: str, account: str) -> None:
        self._db = db
        self._region = region
        self._account = account
        self._known: dict[str, tuple[int, Binding]] = {}

    def cached(self, datastore_id: str, now: int) -> Binding | None:
        """What was looked up not long ago; None: `load` must be asked."""
        entry = self._known.get(datastore_id)
        return entry[1] if entry is not None and 0 <= now - entry[0] < FRESH_MS else None

    def load(self, datastore_id: str, now: int) -> Binding | None:
        """What the database says; None if there is no such data store. Blocks."""
        with self._db.read() as conn:
            named = authorizers.arn_of(conn, datastore_id)
            if named is None:
                self._known.pop(datastore_id, None)
                return None
            arn, found = named[0], None
            for spelling in _spellings(arn):
                found = found or authorizers.get(conn, spelling)
        function = None if arn is None else parse_function(arn)
        binding = Binding(
            datastore_arn(self._region, self._account, datastore_id),
            arn,
            function is None or (function.region, function.account) != (self._region, self._account),
            None if found is None else found.target,
            0 if found is None else found.updated_at,
        )
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[datastore_id] = (now, binding)
        return binding


def _spellings(arn: str | None) -> list[str]:
    """An authorizer that was put for the function stands for its versions and aliases, too."""
    function = None if arn is None else parse_function(arn)
    if arn is None or function is None or function.qualifier is None:
        return [] if arn is None else [arn]
    return [arn, arn.removesuffix(f":{function.qualifier}")]
