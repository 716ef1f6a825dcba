"""The seven elements by which instances are grouped into image sets.

Source: devguide/understanding-image-sets. Values are compared as trimmed strings; absent equals empty.
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class Grouping:
    """The grouping values of one instance, trimmed; ``""`` where absent or empty."""

    study_instance_uid: str
    series_instance_uid: str
    patient_id: str
    study_date: str
    accession_number: str
    study_id: str
    series_number: str

    def to_json(self) -> str:
        return json.dumps(astuple(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Grouping:
        return cls(*json.loads(text))
