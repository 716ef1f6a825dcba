"""How a change of a key is told in the audit trail: alike by the console and by commands."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime


def what(done: str, key: str, user: str) -> str:
    """What was done to the key of a user, such as ``access key revoked: AKIA… of kim``."""
    return f"{done}: {key} of {user}"


def ends(*keys: tuple[str, int | None, int | None]) -> Iterator[tuple[str, str | None, str | None]]:
    """What is told of keys whose end was moved: before and after, ms since the epoch, None for never."""
    for key, before, after in keys:
        if before != after:
            yield f"end of access key {key}", _moment(before), _moment(after)


def _moment(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
