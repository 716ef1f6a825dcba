"""Statements for `Database.look_up`, written once and kept as each driver takes them."""

from __future__ import annotations


class LookUp:
    """A SELECT for both databases.

    ``sql`` has ``?`` for each parameter and holds no other question mark or percent sign. ``sqlite`` is the
    same for SQLite, where that is faster written in another way.
    """

    __slots__ = ("numbered", "postgresql", "sqlite")

    def __init__(self, sql: str, sqlite: str | None = None) -> None:
        self.sqlite = sqlite or sql
        self.postgresql = sql.replace("?", "%s")
        parts = sql.split("?")
        numbered = parts[0] + "".join(f"${number}{part}" for number, part in enumerate(parts[1:], 1))
        self.numbered = numbered.encode()
