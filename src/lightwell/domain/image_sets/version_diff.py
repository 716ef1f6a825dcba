"""What differs between two versions of an image set, element by element.

Values are those of the native document: *old* before, *new* after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from lightwell.domain.image_sets.image_set import Version


class AbsentValue:
    """The value of an absent attribute; None is an empty value."""


ABSENT = AbsentValue()

#: key of the document → (tag for sorting, VR in the dictionary or "")
TagAndVr = Callable[[str], tuple[int, str]]


@dataclass(frozen=True, slots=True)
class ElementDifference:
    """One attribute. ``path`` leads through items of sequences: ``ProcedureCodeSequence[0].CodeValue``."""

    path: str
    old_vr: str
    new_vr: str
    old: object
    new: object

    def as_json(self) -> dict[str, object]:
        """As `lightwell sets diff --json` prints it; absent values are left out."""
        shown: dict[str, object] = {"element": self.path, "vr": self.new_vr or self.old_vr}
        if self.old_vr and self.new_vr and self.old_vr != self.new_vr:
            shown["oldVr"] = self.old_vr
        if self.old is not ABSENT:
            shown["old"] = self.old
        if self.new is not ABSENT:
            shown["new"] = self.new
        return shown


@dataclass(frozen=True, slots=True)
class FrameDifference:
    """A frame, numbered from 1, whose CRC-32 differs; None where the frame does not exist."""

    number: int
    old: int | None
    new: int | None


@dataclass(frozen=True, slots=True)
class FramesDifference:
    """Changed pixels of an instance: how many frames there were and are, and which differ."""

    old: int
    new: int
    differing: tuple[FrameDifference, ...]

    def as_json(self) -> dict[str, object]:
        return {
            "old": self.old,
            "new": self.new,
            "differing": [{"frame": f.number, "oldCrc32": f.old, "newCrc32": f.new} for f in self.differing],
        }


@dataclass(frozen=True, slots=True)
class LevelDifference:
    """The patient, study or series level; ``version`` is the newest version in between that changed it."""

    level: int
    version: int | None
    elements: tuple[ElementDifference, ...]


class ChangeKind(StrEnum):
    """REPLACED: another file of the instance was imported. CHANGED: the instance or one of its levels was
    edited.
    """

    ADDED = "added"
    REMOVED = "removed"
    REPLACED = "replaced"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class InstanceDifference:
    """One instance.

    ``old_uid`` or ``new_uid`` is None where that version does not have the instance; they differ where it was
    renamed. ``version`` is the newest version in between that touched it.
    """

    kind: ChangeKind
    old_uid: str | None
    new_uid: str | None
    number: int | None
    version: int | None
    elements: tuple[ElementDifference, ...] = ()
    frames: FramesDifference | None = None

    def as_json(self) -> dict[str, object]:
        shown: dict[str, object] = {"change": self.kind, "SOPInstanceUID": self.new_uid or self.old_uid}
        if self.old_uid and self.new_uid and self.old_uid != self.new_uid:
            shown["oldSOPInstanceUID"] = self.old_uid
        if self.number is not None:
            shown["InstanceNumber"] = self.number
        shown["version"] = self.version
        if self.kind in (ChangeKind.REPLACED, ChangeKind.CHANGED):
            shown["elements"] = [element.as_json() for element in self.elements]
        if self.frames is not None:
            shown["frames"] = self.frames.as_json()
        return shown


@dataclass(frozen=True, slots=True)
class SetDifference:
    """From version ``first`` to version ``second``, which may be the older one.

    ``versions`` are those in between, including the newer end, oldest first. ``same`` counts the unchanged
    instances.
    """

    datastore_id: str
    image_set_id: str
    first: int
    second: int
    versions: tuple[Version, ...]
    levels: tuple[LevelDifference, ...]
    instances: tuple[InstanceDifference, ...]
    same: int

    @property
    def empty(self) -> bool:
        return not self.levels and not self.instances


@dataclass(frozen=True, slots=True)
class InstanceBlock:
    """A ``DICOM`` object, and the VRs of its keys that are not in the dictionary."""

    values: Mapping[str, object]
    vrs: Mapping[str, str] = field(default_factory=dict)


def element_differences(
    old: InstanceBlock, new: InstanceBlock, known: TagAndVr
) -> tuple[ElementDifference, ...]:
    """The attributes in which two blocks differ, in tag order."""
    return tuple(_differences(old.values, new.values, "", old.vrs, new.vrs, known))


def frames_difference(old: Sequence[int], new: Sequence[int]) -> FramesDifference:
    """The frames in which two instances differ, by their CRC-32."""
    both = min(len(old), len(new))
    differing = [FrameDifference(n + 1, old[n], new[n]) for n in range(both) if old[n] != new[n]]
    differing += [FrameDifference(n + 1, old[n], None) for n in range(both, len(old))]
    differing += [FrameDifference(n + 1, None, new[n]) for n in range(both, len(new))]
    return FramesDifference(len(old), len(new), tuple(differing))


def _differences(
    old: Mapping[str, object],
    new: Mapping[str, object],
    prefix: str,
    old_vrs: Mapping[str, str],
    new_vrs: Mapping[str, str],
    known: TagAndVr,
) -> Iterator[ElementDifference]:
    for key in sorted(old.keys() | new.keys(), key=lambda key: (known(key)[0], key)):
        before, after = old.get(key, ABSENT), new.get(key, ABSENT)
        usual = known(key)[1]
        old_vr, new_vr = old_vrs.get(key, usual), new_vrs.get(key, usual)
        if before is not ABSENT and after is not ABSENT:
            if before == after and old_vr == new_vr:
                continue
            items = _paired_items(before, after)
            if items is not None and old_vr == new_vr:
                for place, (one, other) in enumerate(items):
                    path = f"{prefix}{key}[{place}]."
                    yield from _differences(one, other, path, old_vrs, new_vrs, known)
                continue
        yield ElementDifference(f"{prefix}{key}", old_vr, new_vr, before, after)


def _paired_items(
    before: object, after: object
) -> list[tuple[Mapping[str, object], Mapping[str, object]]] | None:
    """The items of two sequences in pairs; None unless both are sequences of the same length."""
    if not isinstance(before, list) or not isinstance(after, list) or len(before) != len(after):
        return None
    pairs = [
        (one, other)
        for one, other in zip(before, after, strict=True)
        if isinstance(one, Mapping) and isinstance(other, Mapping)
    ]
    return pairs if len(pairs) == len(before) else None
