"""Which command this process was called with, for the audit trail, which is loaded later."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Called:
    """The verb, its action if it has any, and all arguments by their names."""

    verb: str
    arguments: argparse.Namespace = field(repr=False)

    @property
    def words(self) -> str:
        action = getattr(self.arguments, "action", None)
        return f"{self.verb} {action}" if isinstance(action, str) else self.verb


commands: list[Called] = []
"""The command that runs, and nothing if none does."""
