"""What the parts of `web` hand to the one place that writes bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer, or one whose body comes in pieces. Header names are in lower case."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes | AsyncIterator[bytes]
