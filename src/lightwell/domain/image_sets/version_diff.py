"""What differs between two versions of an image set, element by element.

Values are those of the native document; what was there before is *old*, what is there after is *new*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lightwell.domain.image_sets.image_set import Version

LEVEL_NAMES = ("Patient", "Study", "Series")


class Absent:
    """The value of an attribute that is not there; None is an empty one."""


ABSENT = Absent()

#: key of the document → (tag by which it is sorted, VR by the dictionary or "")
Known = Callable[[str], tuple[int, str]]


@dataclass(frozen=True, slots=True)
class ElementDifference:
    """One attribute. ``path`` leads through items of sequences: ``ProcedureCodeSequence[0].CodeValue``."""

    path: str
    old_vr: str
    new_vr: str
    old: object
    new: object

    def as_json(self) -> dict[str, object]:
        """As `lightwell sets diff --json` prints it; a value that is not there is left out."""
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
    """One frame, numbered from 1, whose CRC-32 differs; None where there is no such frame."""

    number: int
    old: int | None
    new: int | None


@dataclass(frozen=True, slots=True)
class FramesDifference:
    """Of an instance whose pixels were stored anew: how many frames there were and are, and which differ."""

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
    """The patient, study or series level; ``version`` is the newest of those between that changed it."""

    level: int
    version: int | None
    elements: tuple[ElementDifference, ...]


ADDED, REMOVED, REPLACED, CHANGED = "added", "removed", "replaced", "changed"


@dataclass(frozen=True, slots=True)
class InstanceDifference:
    """One instance. `REPLACED`: another file of it came; `CHANGED`: it was edited, or its level was.

    ``old_uid`` or ``new_uid`` is None where it is not there; they differ where it was renamed. ``version`` is
    the newest of those between that touched it.
    """

    kind: str
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
        if self.kind in (REPLACED, CHANGED):
            shown["elements"] = [element.as_json() for element in self.elements]
        if self.frames is not None:
            shown["frames"] = self.frames.as_json()
        return shown


@dataclass(frozen=True, slots=True)
class SetDifference:
    """From version ``first`` to version ``second``, which may be the older one.

    ``versions`` are those that lie between, the newer end included, oldest first: who made them, and when.
    ``same`` counts the instances that are as they were.
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
class Block:
    """A ``DICOM`` object and the VRs of its keys that no dictionary knows."""

    values: Mapping[str, object]
    vrs: Mapping[str, str] = field(default_factory=dict)


def elements(old: Block, new: Block, known: Known) -> tuple[ElementDifference, ...]:
    """The attributes in which two blocks differ, in the order of their tags."""
    return tuple(_differing(old.values, new.values, "", old.vrs, new.vrs, known))


def frames(old: Sequence[int], new: Sequence[int]) -> FramesDifference:
    """The frames in which two instances differ, by their CRC-32."""
    both = min(len(old), len(new))
    differing = [FrameDifference(n + 1, old[n], new[n]) for n in range(both) if old[n] != new[n]]
    differing += [FrameDifference(n + 1, old[n], None) for n in range(both, len(old))]
    differing += [FrameDifference(n + 1, None, new[n]) for n in range(both, len(new))]
    return FramesDifference(len(old), len(new), tuple(differing))


def _differing(
    old: Mapping[str, object],
    new: Mapping[str, object],
    prefix: str,
    old_vrs: Mapping[str, str],
    new_vrs: Mapping[str, str],
    known: Known,
) -> Iterator[ElementDifference]:
    for key in sorted(old.keys() | new.keys(), key=lambda key: (known(key)[0], key)):
        before, after = old.get(key, ABSENT), new.get(key, ABSENT)
        usual = known(key)[1]
        old_vr, new_vr = old_vrs.get(key, usual), new_vrs.get(key, usual)
        if before is not ABSENT and after is not ABSENT:
            if before == after and old_vr == new_vr:
                continue
            items = _items(before, after)
            if items is not None and old_vr == new_vr:
                for place, (one, other) in enumerate(items):
                    path = f"{prefix}{key}[{place}]."
                    yield from _differing(one, other, path, old_vrs, new_vrs, known)
                continue
        yield ElementDifference(f"{prefix}{key}", old_vr, new_vr, before, after)


def _items(before: object, after: object) -> list[tuple[Mapping[str, object], Mapping[str, object]]] | None:
    """The items of two sequences in pairs, None where these are no sequences of one length."""
    if not isinstance(before, list) or not isinstance(after, list) or len(before) != len(after):
        return None
    pairs = [
        (one, other)
        for one, other in zip(before, after, strict=True)
        if isinstance(one, Mapping) and isinstance(other, Mapping)
    ]
    return pairs if len(pairs) == len(before) else None
