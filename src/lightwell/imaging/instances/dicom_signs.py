"""Whether a file that is no Part 10 file may be DICOM: a damaged one, or a data set without preamble.

Exports and media hold other files besides, such as ``.DS_Store``, ``Thumbs.db`` and ``README.txt``. Those may
be passed over; an image that is damaged must not be taken for one of them. So whatever shows any sign of
DICOM counts as DICOM.
"""

from __future__ import annotations

import struct
from pathlib import PurePosixPath

from lightwell.imaging.dataset.byte_source import Source
from lightwell.imaging.dataset.dictionary import attribute_of

_HEAD = 4096
_PREAMBLE, _PREFIX = 128, b"DICM"
_ENDINGS = frozenset((".dcm", ".dic", ".dicom", ".dicm", ".ima", ".acr"))
# The extended attributes that macOS writes beside each file on foreign disks and into zip files, as "._NAME".
_APPLE_DOUBLE = b"\x00\x05\x16\x07"
#: groups with which a data set, a file meta group, a directory or a command set begins (PS3.5 §7.1, PS3.7 E)
_FIRST_GROUPS = (0x0000, 0x0002, 0x0004, 0x0008)


def has_sign_of_dicom(source: Source, name: str) -> bool:
    """Whether the file called ``name`` may be DICOM, going by its first 4,096 bytes and its name.

    Signs are the prefix ``DICM`` (PS3.10 §7.1) anywhere among them, an element of the dictionary in any
    encoding at the beginning or where one follows a preamble, and a preamble of zeros or an ending such as
    ``.dcm``, so that an image is not passed over if its copy has failed and left nothing but that.
    """
    head = source.read(0, _HEAD)
    if head.startswith(_APPLE_DOUBLE) and PurePosixPath(name).name.startswith("._"):
        return False
    if PurePosixPath(name).suffix.lower() in _ENDINGS:
        return True
    if b"\0" not in head:
        return False  # text: the tag of every first element has a zero byte
    if _PREFIX in head or not any(head[:_PREAMBLE]):
        return True
    return any(_is_element(head[start:], source.size, start == 0) for start in (0, _PREAMBLE, 132))


def _is_element(head: bytes, size: int, may_lack_vr: bool) -> bool:
    """Whether ``head`` begins with a first element of the dictionary.

    Between other bytes, one that has no VR would be found where there is none.
    """
    if len(head) < 8:
        return False
    code = head[4:6]
    for order in "<>":
        group, element, length = struct.unpack_from(f"{order}HHI", head)
        if group not in _FIRST_GROUPS:
            continue
        if element == 0:
            found = code == b"UL" or (length == 4 and may_lack_vr)
        elif attribute_of(group << 16 | element).keyed:
            has_vr = code.isalpha() and code.isupper()
            found = has_vr or (may_lack_vr and group != 0 and 0 < length <= size)
        else:
            found = False
        if found:
            return True
    return False
