"""How a setting is declared."""

from __future__ import annotations

from dataclasses import field
from typing import Any

MiB = 1 << 20
GiB = 1 << 30


def setting(default: Any, help: str, *, secret: bool = False, choices: tuple[str, ...] = ()) -> Any:
    """A field of a group of settings; ``help`` is its line in the reference, a ``secret`` is never shown."""
    return field(default=default, metadata={"help": help, "secret": secret, "choices": choices})
