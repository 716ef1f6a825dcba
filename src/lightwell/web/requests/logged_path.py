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
# No UID is longer, each of its 64 characters written as three (PS3.5 §9.1); looking for one takes time that
# grows with the square.
_LONGEST_UID = 192


def logged_path(path: bytes, *, masks: bool) -> str:
    """The first 300 characters of the path; ``masks``: without UIDs."""
    text = path.decode("ascii", "replace")
    if not masks:
        return text[:_LONGEST]
    shown: list[str] = []
    before, length = "", 0
    for part in text.split("/"):
        is_uid = before in _BELOW or len(part) > _LONGEST_UID or _UID.search(part) is not None
        shown.append(_MASK if part and is_uid else part)
        before, length = part, length + len(shown[-1]) + 1
        if length > _LONGEST:
            break
    return "/".join(shown)[:_LONGEST]
