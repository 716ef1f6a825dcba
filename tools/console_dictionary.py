"""Write the DICOM dictionary of the console: tags, keywords, VRs, multiplicity and level, compactly.

Its source is the dictionary that the server uses, PS3.6 as pydicom ships it, and the levels of
`lightwell.domain.image_sets.levels`.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydicom._dicom_dict import DicomDictionary

from lightwell.domain.image_sets.levels import LEVELS

TARGET = Path(__file__).parents[1] / "console/src/dicom/dictionary.json"
_LEVEL_LETTERS = "pse"  # patient, study, series


def dictionary() -> str:
    """The file's text: by group, elements as ``element keyword:VR:flags`` joined by ``|``.

    Flags are ``m`` where several values are allowed, and the letter of a level above the instance.
    """
    groups: dict[str, list[str]] = {}
    for tag, (vr, multiplicity, _, _, keyword) in sorted(DicomDictionary.items()):
        # Group 0000 is of network messages, not of data sets.
        if not keyword or vr == "NONE" or tag < 0x00020000:
            continue
        flags = "" if multiplicity == "1" else "m"
        if keyword in LEVELS:
            flags += _LEVEL_LETTERS[LEVELS[keyword]]
        entry = f"{tag & 0xFFFF:04X}{keyword}:{vr}:{flags}".rstrip(":")
        groups.setdefault(f"{tag >> 16:04X}", []).append(entry)
    return json.dumps({group: "|".join(entries) for group, entries in groups.items()}, indent=0) + "\n"


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(dictionary())
