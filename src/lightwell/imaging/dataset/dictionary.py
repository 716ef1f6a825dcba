"""Attributes by tag: keyword, VR, multiplicity, level and key in the metadata document.

Source: PS3.6, as pydicom ships it. Elements without a keyword of their own (private, unknown, repeating
groups such as overlays) are keyed by eight hexadecimal digits, and their VR is listed in DICOMVRs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR, private_dictionary_VR, repeater_has_tag, tag_for_keyword

from lightwell.domain.image_sets.levels import INSTANCE, level_of

PIXEL_TAGS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
CHARSET = 0x00080005
PIXEL_REPRESENTATION = 0x00280103
LUT_DESCRIPTOR = 0x00283002

_DIGITS = re.compile(r"[0-9A-F]{8}")


@dataclass(frozen=True, slots=True, eq=False)
class Attribute:
    """The attribute of one tag.

    ``vr`` is the dictionary's: "" if it has none, several such as "US or SS" if it allows a choice.
    ``name`` is for messages. ``keyed``: the keyword is the key. ``single``: VM 1, shown as a scalar; None if
    keyed by digits, when the number of values decides. ``private``: odd group.
    """

    tag: int
    keyword: str
    vr: str
    keyed: bool
    single: bool | None
    private: bool
    level: int
    key: bytes

    @property
    def name(self) -> str:
        return self.keyword if self.keyed else f"({self.tag >> 16:04X},{self.tag & 0xFFFF:04X})"

    @property
    def hex(self) -> str:
        """The tag as eight upper-case hex digits."""
        return f"{self.tag:08X}"


@lru_cache(maxsize=32_768)
def attribute_of(tag: int) -> Attribute:
    """The attribute of ``tag``; every tag has one."""
    private = bool(tag >> 16 & 1)
    entry = None if private else DicomDictionary.get(tag)
    if entry and entry[4]:
        keyword, vr = entry[4], "" if entry[0] == "NONE" else entry[0]
        return Attribute(
            tag, keyword, vr, True, entry[1] == "1", False, level_of(keyword), _json_key(keyword)
        )
    vr = ""
    if entry:
        vr = entry[0]
    elif not private and repeater_has_tag(tag):
        vr = dictionary_VR(tag)
    elif private and 0x10 <= tag & 0xFFFF <= 0xFF:
        vr = "LO"
    return Attribute(tag, f"{tag:08X}", vr, False, None, private, INSTANCE, _json_key(f"{tag:08X}"))


def attribute_named(key: str) -> Attribute | None:
    """The attribute that a key of the metadata document names: a keyword, or eight upper-case hex digits.

    None if it is neither, such as an unknown keyword.
    """
    if _DIGITS.fullmatch(key):
        return attribute_of(int(key, 16))
    tag = tag_for_keyword(key)
    return None if tag is None else attribute_of(tag)


def tag_by_letters(keyword: str) -> int | None:
    """The tag of a keyword whose letters may be in either case; None if it is not in PS3.6."""
    return _tags_by_letters().get(keyword.lower())


@lru_cache(maxsize=1)
def _tags_by_letters() -> dict[str, int]:
    return {entry[4].lower(): tag for tag, entry in DicomDictionary.items() if entry[4]}


def _json_key(name: str) -> bytes:
    return f'"{name}":'.encode()


@lru_cache(maxsize=4096)
def private_vr(tag: int, creator: str) -> str:
    """VR of a private element in the block of ``creator``, "UN" if it is not known."""
    try:
        vr = private_dictionary_VR(tag, creator)
    except KeyError:
        return "UN"
    return vr if len(vr) == 2 else "UN"
