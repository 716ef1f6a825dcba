"""What CopyImageSet copies, and whether source and destination match.

Source: devguide/copy-image-set; the messages of failed copies are worded as the service's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from lightwell.domain.image_sets.edits import Edit, Edits
from lightwell.domain.image_sets.levels import LEVEL_NAMES, Level
from lightwell.domain.image_sets.updates import read_changes, same_value
from lightwell.errors import ValidationError

FRAME_QUOTA = 1_000
"""Image frames per copy; a published quota of the service (devguide/endpoints-quotas)."""

COPIABLE = "copiableAttributes"

#: SeriesInstanceUID → SOPInstanceUIDs of the instances to copy, None for all of them
Selection = Mapping[str, frozenset[str] | None]

Block = Mapping[str, object]
_ABSENT = object()
_UID = re.compile(r"[0-9.]*[0-9][0-9.]*")


class CopyRefused(Exception):
    """An accepted copy cannot be made; ``str()`` gives the message of the failed version."""


def read_selection(text: str) -> Selection:
    """The subset that ``copiableAttributes`` names: an excerpt of the document with empty instances.

    ::

        {"SchemaVersion": "1.1", "Study": {"Series": {"1.2": {"Instances": {"1.2.1": {}, "1.2.2": {}}}}}}

    A series that is an empty object stands for all its instances. Raises `ValidationError` for any other
    form, and for attributes, which are copied as they are.
    """
    named = read_changes(text.encode("utf-8", "surrogatepass"), COPIABLE)
    of_series = named.series.values()
    if (
        named.patient
        or named.study
        or any(of.dicom or any(i.dicom or i.vrs for i in of.instances.values()) for of in of_series)
    ):
        raise ValidationError(
            f"{COPIABLE} names the instances to copy, each by an empty object; attributes cannot be given, "
            "since they are copied as they are."
        )
    if not named.series or any(not of.whole and not of.instances for of in of_series):
        raise ValidationError(f"{COPIABLE} names no instance to copy.")
    return {uid: None if of.whole else frozenset(of.instances) for uid, of in named.series.items()}


def level_mismatch(level: Level) -> CopyRefused:
    return CopyRefused(
        f"INVALID_REQUEST:  {LEVEL_NAMES[level]} of SourceImageSet and DestinationImageSet don't match."
    )


def duplicate_instance(sop_instance_uid: str) -> CopyRefused:
    """The refusal of a copy because an instance is already in the destination."""
    # Some files have other text as UIDs, which the pattern of messages does not allow.
    named = f" {sop_instance_uid}" if _UID.fullmatch(sop_instance_uid) else ""
    return CopyRefused(
        f"INVALID_REQUEST:  SOPInstanceUID{named} of SourceImageSet is in DestinationImageSet already."
    )


CONTRADICTED = (
    "INVALID_REQUEST:  PatientID, StudyDate, AccessionNumber or StudyID of SourceImageSet and of a primary "
    "image set of the Study don't match."
)
"""Why a set cannot be promoted where the series has no primary set to compare it with."""


def values_agree(one: object, other: object) -> bool:
    """Whether two values of an attribute are equal, apart from padding and kinds of emptiness."""
    return same_value(_empty_as_none(one), _empty_as_none(other))


def _empty_as_none(value: object) -> object:
    return None if value == [] else value


def blocks_agree(source: Block, destination: Block) -> bool:
    """Whether two ``DICOM`` objects of one level are equal; absent counts as empty."""
    return all(
        values_agree(source.get(key), destination.get(key)) for key in source.keys() | destination.keys()
    )


def edits_for_copies(
    source: Block,
    source_edits: Edits,
    destination: Block,
    destination_edits: Edits,
    edit_to: Callable[[str, object], Edit] | None,
) -> Edits:
    """The edits that every copied instance needs to show the right values in the destination.

    Blocks are what the sets show of one level. The source's level edits concern all its instances, so each
    copied instance takes them along. With ``edit_to``, which makes the edit to a value, the copy is forced:
    where the two blocks differ, the instances get the destination's values. The destination's level edits
    apply to the instances anyway, so the keys that they name need no edit.
    """
    found: dict[str, Edit | None] = {}
    for key in sorted(source.keys() | destination.keys() | source_edits.keys()):
        if key in destination_edits:
            continue
        if edit_to is not None and source.get(key, _ABSENT) != destination.get(key, _ABSENT):
            found[key] = edit_to(key, destination[key]) if key in destination else None
        elif key in source_edits:
            found[key] = source_edits[key]
    return found
