"""What of a search is kept in the audit trail.

Whoever searches by a name has written it: it would stand in the trail for years, where names do not belong.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

# Whatever is not listed is replaced: there are thousands of attributes, and extensions have their own.
_KEPT: Final = frozenset(
    [
        *("patientid", "dicompatientid", "00100020", "issuerofpatientid", "00100021"),
        *("studyinstanceuid", "studyinstanceuids", "dicomstudyinstanceuid", "0020000d"),
        *("seriesinstanceuid", "dicomseriesinstanceuid", "0020000e", "sopinstanceuid", "00080018"),
        *("accessionnumber", "dicomaccessionnumber", "00080050", "studyid", "dicomstudyid", "00200010"),
        *("studydate", "studytime", "00080020", "00080030", "dicomstudydateandtime"),
        *("createdat", "updatedat", "firstday", "lastday"),
        *("modality", "modalities", "dicomseriesmodality", "00080060", "modalitiesinstudy", "00080061"),
        *("sopclassuid", "00080016", "sopclassesinstudy", "00080062"),
        *("seriesnumber", "00200011", "instancenumber", "00200013", "isprimary", "primary", "imagesetid"),
        *("jobid", "kinds", "types", "dataaccessrolearn", "files", "bytes"),
        *("sort", "direction", "limit", "offset", "includefield", "fuzzymatching", "datastoreid"),
    ]
)
_LETTERS: Final = re.compile(r"[^0-9a-z]")
_MOST_NAMES, _MOST_VALUES, _LONGEST = 64, 100, 256


class QueryMask:
    """Replaces values by digests under a key: equal ones stay equal, and nobody without it can try names."""

    def __init__(self, mask: str, key: bytes) -> None:
        """``mask`` is what the setting ``audit_mask`` says: with ``texts`` the values of names, descriptions
        and free text are replaced, those of ids, UIDs, dates and modalities are kept; with ``all`` every
        value is replaced, with ``none`` every value is kept. ``key`` has at most 64 bytes.
        """
        self._mask = mask
        self._key = key

    def of(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """What is kept of a query: a text or a list of texts for each name. Pages are not looked for."""
        return {
            name[:_LONGEST]: self._value(name, value) for name, value in list(query.items())[:_MOST_NAMES]
        }

    def of_tag(self, value: str | None) -> str | None:
        """What is kept of a tag's value, which may be any text."""
        return None if value is None else self._text("tag", value)

    def _value(self, name: str, value: str | Sequence[str]) -> str | list[str]:
        if isinstance(value, str):
            return self._text(name, value)
        return [self._text(name, each) for each in value[:_MOST_VALUES]]

    def _text(self, name: str, text: str) -> str:
        if self._mask == "none" or not text:
            return text[:_LONGEST]
        # Of an attribute in a sequence the name says all that is kept of it.
        if self._mask == "texts" and _LETTERS.sub("", name.lower()) in _KEPT:
            return text[:_LONGEST]
        folded = text.casefold().encode("utf-8", "surrogatepass")
        return f"#{hashlib.blake2b(folded, key=self._key, digest_size=5).hexdigest()}"
