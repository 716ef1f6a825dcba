"""The path of a request as the log has it: UIDs identify patients to whoever has the images.

The audit trail keeps them, under the same request id.
"""

from __future__ import annotations

import re

_LONGEST = 300
# What PS3.18 has below these, whatever it looks like; and what looks like a UID anywhere.
_BELOW = frozenset({"studies", "series", "instances"})
_UID = re.compile(r"(?:[0-9]|%3[0-9])+(?:(?:\.|%2[eE])(?:[0-9]|%3[0-9])+){3,}")
_MASK = "*"


def logged_path(path: bytes, *, masks: bool) -> str:
    """The first 300 characters of the path; ``masks``: without UIDs."""
    text = path.decode("ascii", "replace")
    if not masks:
        return text[:_LONGEST]
    parts = text.split("/")
    for number in range(1, len(parts)):
        if parts[number] and (parts[number - 1] in _BELOW or _UID.search(parts[number])):
            parts[number] = _MASK
    return "/".join(parts)[:_LONGEST]
