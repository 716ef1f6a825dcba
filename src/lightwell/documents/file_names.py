"""Names of files and folders for what is exported."""

from __future__ import annotations

import re
from hashlib import blake2s

_SAFE = re.compile(r"[0-9](?:[0-9.]{0,126}[0-9])?", re.ASCII)
_UNSAFE = re.compile(r"[^0-9A-Za-z._-]")


def file_name(uid: str) -> str:
    """A file name for a UID. UIDs come from files and may hold anything; unsafe ones get a derived name."""
    if _SAFE.fullmatch(uid):
        return uid
    digest = blake2s(uid.encode("utf-8", "replace"), digest_size=8).hexdigest()
    return f"{_UNSAFE.sub('_', uid).strip('.')[:100]}-{digest}"
