"""What CopyImageSet copies, and whether source and destination go together.

Source: devguide/copy-image-set; the words of a failed copy are those of the service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lightwell.domain.image_sets.edits import Edit, Edits
from lightwell.domain.image_sets.levels import PATIENT, SERIES, STUDY
from lightwell.domain.image_sets.updates import read_changes, same_value
from lightwell.errors import ValidationError

FRAME_QUOTA = 1_000
"""ImageFrames of one copy; a published quota of the service (devguide/endpoints-quotas)."""

COPIABLE = "copiableAttributes"

LEVELS = {PATIENT: "Patient", STUDY: "Study", SERIES: "Series"}

#: series → its SOP instances that are to be copied, None for all of them
Selection = Mapping[str, frozenset[str] | None]

Block = Mapping[str, object]
_ABSENT = object()


class CopyRefused(Exception):
    """A copy that was accepted and cannot be made; ``str()`` is the message of the failed version."""


def read_selection(text: str) -> Selection:
    """The subset that ``copiableAttributes`` names: a cut-out of the document that has empty instances.

    ::

        {"SchemaVersion": "1.1", "Study": {"Series": {"1.2": {"Instances": {"1.2.1": {}, "1.2.2": {}}}}}}

    A series that is an empty object stands for all its instances. Raises `ValidationError` for another form,
    and for attributes, which a copy takes as they are.
    """
    named = read_changes(text.encode("utf-8", "surrogatepass"), COPIABLE)
    of_series = named.series.values()
    if (
        named.patient
        or named.study
        or any(of.dicom or any(i.dicom or i.vrs for i in of.instances.values()) for of in of_series)
    ):
        raise ValidationError(
            f"{COPIABLE} names the instances to copy, each by an empty object; their attributes are copied "
            "as they are."
        )
    if not named.series or any(not of.whole and not of.instances for of in of_series):
        raise ValidationError(f"{COPIABLE} names no instance to copy.")
    return {uid: None if of.whole else frozenset(of.instances) for uid, of in named.series.items()}


def mismatch(level: int) -> CopyRefused:
    return CopyRefused(
        f"INVALID_REQUEST:  {LEVELS[level]} of SourceImageSet and DestinationImageSet don't match."
    )


def twice(sop_instance_uid: str) -> CopyRefused:
    """An instance is in the destination already."""
    # Some files name their instances by other text, which a message may not hold.
    clean = sop_instance_uid.replace(".", "").isascii() and sop_instance_uid.replace(".", "").isdigit()
    named = f" {sop_instance_uid}" if clean else ""
    return CopyRefused(
        f"INVALID_REQUEST:  SOPInstanceUID{named} of SourceImageSet is in DestinationImageSet already."
    )


CONTRADICTED = (
    "INVALID_REQUEST:  PatientID, StudyDate, AccessionNumber or StudyID of SourceImageSet and of a primary "
    "image set of the Study don't match."
)
"""Why a set cannot be promoted. Without a destination that the two could be compared in."""


def agree(one: object, other: object) -> bool:
    """Whether two values of an attribute are the same, padding and the kinds of emptiness aside."""
    return same_value(_filled(one), _filled(other))


def _filled(value: object) -> object:
    return None if value == [] else value


def blocks_agree(source: Block, destination: Block) -> bool:
    """Whether two ``DICOM`` objects of one level say the same; absent is as good as empty."""
    return all(agree(source.get(key), destination.get(key)) for key in source.keys() | destination.keys())


def carried_along(
    source: Block,
    source_edits: Edits,
    destination: Block,
    destination_edits: Edits,
    edit_to: Callable[[str, object], Edit] | None,
) -> Edits:
    """The edits that every instance needs so that it is in the destination what it is meant to be.

    Blocks are what the sets show of one level. What the source's level edits said of all its instances has to
    go with each of them. With ``edit_to``, which makes the edit to a value, the copy is forced: where the two
    blocks differ, the instances get what the destination shows. Keys that the destination's level edits name
    are settled by them.
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
