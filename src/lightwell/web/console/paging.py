"""Pages of lists: where the next one begins, as ``nextToken``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from lightwell.operations.console import pages
from lightwell.web.console.route import Call

T = TypeVar("T")


def place(call: Call, *kinds: type) -> tuple[Any, ...] | None:
    """The values in ``nextToken`` of the query, which must be of these types; None without one.

    Raises `ValidationError` for a token of another list.
    """
    token = call.query.get("nextToken")
    return None if token is None else pages.place(token, *kinds)


def next_page(found: Sequence[T], limit: int, values: Callable[[T], Sequence[object]]) -> str | None:
    """The token for what follows ``limit`` items, if more were found than that."""
    return pages.token(values(found[limit - 1])) if len(found) > limit else None
