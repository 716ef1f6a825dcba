"""Text that XML 1.0 and FHIR can hold: what others have chosen may contain any character."""

from __future__ import annotations

import re
from typing import Final

# XML 1.0 §2.2, Char; FHIR's strings leave out the same ones.
_IMPOSSIBLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def printable(text: str) -> str:
    """The text with U+FFFD in place of each character that cannot be written; never empty or blank."""
    found = _IMPOSSIBLE.sub("\ufffd", text)
    return found if found.strip() else "\ufffd"


def is_printable(text: str) -> bool:
    return printable(text) == text
