"""What a fuzz target is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

UNEXPLAINED = "cannot be read ("
"""What the parser says where an exception came that nobody thought of: a fault of ours, not of the file."""


@dataclass(frozen=True, slots=True)
class Target:
    """Code that reads bytes of strangers.

    ``run`` returns whatever the bytes are, and raises only where lightwell has a fault: any exception that is
    not one with which it refuses, and any of its own checks. ``seeds`` are bytes that are all right, from
    which a fuzzer begins.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]


def is_own_fault(error: Exception) -> bool:
    """Whether a refusal only covers up an exception that nobody thought of."""
    return UNEXPLAINED in str(error)


def attempt(read: Callable[[], object], *refusals: type[Exception]) -> None:
    """Call it; these exceptions are how it refuses."""
    with contextlib.suppress(*refusals):
        read()
