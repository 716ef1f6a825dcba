"""Statements for `Database.look_up`, written once and kept as each driver takes them."""

from __future__ import annotations


class LookUp:
    """A SELECT for both databases.

    ``sql`` has ``?`` for each parameter and holds no other question mark or percent sign.
    """

    __slots__ = ("postgresql", "sqlite")

    def __init__(self, sql: str) -> None:
        self.sqlite = sql
        self.postgresql = sql.replace("?", "%s")
