"""The error of whoever opens what was sealed."""

from __future__ import annotations

from lightwell.errors import DamagedError


class SealError(DamagedError):
    """These are not the bytes that were sealed, or this is not their key."""
