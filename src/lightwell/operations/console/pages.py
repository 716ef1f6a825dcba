"""Tokens of the lists of the console's API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightwell.domain import page_tokens


def place(token: str, *kinds: type) -> tuple[Any, ...]:
    """The values in a token, of these types. Raises `ValidationError` for a token of another list."""
    return tuple(page_tokens.decode(token, *kinds))


def token(values: Sequence[object]) -> str:
    return page_tokens.encode(values)
