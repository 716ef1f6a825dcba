"""What a row says differently in its new database: little, since keys and ids stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table

from lightwell.domain.states import JobPhase, UnitState
from lightwell.stores.moving.rows import Row

_SECRETS = ("secret", "session_token")


@dataclass(frozen=True, slots=True)
class Sealing:
    """How secrets of access keys are read in the old database and the new one, and written in the new one."""

    open_old: Callable[[bytes], str]
    open_new: Callable[[bytes], str]
    seal: Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Changes:
    """What becomes of rows on their way.

    ``node``: the id of the old data folder, whose buckets open jobs without a node refer to; None where
    nodes do not matter. ``sealing``: None while the secret key stays the same. A claim on a unit of work ends
    with the move: whoever held it is gone.

    Rows are compared in a plain form, in which secrets are texts.
    """

    node: str | None = None
    sealing: Sealing | None = None

    def plain_of_old(self, table: Table, rows: Sequence[Row]) -> Sequence[Row]:
        """Rows of the old database in the form in which they are compared."""
        if table.name == "unit":
            return _changed(table, rows, _without_claim)
        if table.name == "import_job" and self.node is not None:
            return _changed(table, rows, self._with_node)
        if table.name == "access_key" and self.sealing is not None:
            return _secrets(table, rows, self.sealing.open_old)
        return rows

    def plain_of_new(self, table: Table, rows: Sequence[Row]) -> Sequence[Row]:
        """Those of the new one."""
        if table.name == "access_key" and self.sealing is not None:
            return _secrets(table, rows, self.sealing.open_new)
        return rows

    def to_new(self, table: Table, rows: Sequence[Row]) -> Sequence[Row]:
        """From the plain form to what is written."""
        if table.name == "access_key" and self.sealing is not None:
            return _secrets(table, rows, self.sealing.seal)
        return rows

    def _with_node(self, row: dict[str, Any]) -> None:
        if row["phase"] != JobPhase.DONE:
            for name in ("input_node", "output_node"):
                row[name] = self.node if row[name] is None else row[name]


def _without_claim(row: dict[str, Any]) -> None:
    if row["state"] == UnitState.CLAIMED:
        row["state"] = str(UnitState.READY)
        row["claim"] = row["claimed_at"] = row["claimed_until"] = None


def _secrets(table: Table, rows: Sequence[Row], turn: Callable[[Any], Any]) -> Sequence[Row]:
    def change(row: dict[str, Any]) -> None:
        for name in _SECRETS:
            row[name] = None if row[name] is None else turn(row[name])

    return _changed(table, rows, change)


def _changed(table: Table, rows: Sequence[Row], change: Callable[[dict[str, Any]], None]) -> list[Row]:
    names = [column.name for column in table.columns]
    found = []
    for row in rows:
        named = dict(zip(names, row, strict=True))
        change(named)
        found.append(tuple(named.values()))
    return found
