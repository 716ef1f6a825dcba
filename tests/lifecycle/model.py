"""A minimal model of image sets in memory: every version is a complete snapshot.

What lightwell keeps as ranges, references and edits of rows is here a value that is never changed. The rules
are those of the service, stated a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.lifecycle.native import OriginalInstance, Values, level_of

PATIENT, STUDY, SERIES = 0, 1, 2
_STUDY_VALUES = ("PatientID", "StudyDate", "AccessionNumber", "StudyID")
_GROUPING = ("StudyInstanceUID", "SeriesInstanceUID", *_STUDY_VALUES, "SeriesNumber")


class Removed:
    """Stands in edits where an attribute was removed."""

    def __repr__(self) -> str:
        return "removed"


REMOVED = Removed()
Edits = Mapping[str, Any]


@dataclass(frozen=True)
class Member:
    """An instance of a version; ``since`` is the version that gave it its current content."""

    original: OriginalInstance
    uid: str
    since: int
    edits: Edits = field(default_factory=dict)
    vrs: Mapping[str, str] = field(default_factory=dict)

    def own(self, level: int) -> Values:
        """Its patient, study or series block, or its own at 3, with its own edits."""
        block = self.original.dicom if level == 3 else self.original.levels[level]
        return apply_edits(block, {key: value for key, value in self.edits.items() if level_of(key) == level})


@dataclass(frozen=True)
class Level:
    base: Values
    edits: Edits = field(default_factory=dict)

    @property
    def shown(self) -> Values:
        return apply_edits(self.base, self.edits)


@dataclass(frozen=True)
class Content:
    """What a version holds; members by SOPInstanceUID."""

    levels: tuple[Level, Level, Level]
    members: Mapping[str, Member]

    def value(self, key: str) -> str:
        """A level's attribute as a text, "" where absent or empty."""
        return str(self.levels[level_of(key)].shown.get(key) or "").strip()

    @property
    def grouping(self) -> tuple[str, ...]:
        return tuple(map(self.value, _GROUPING))

    @property
    def series(self) -> tuple[str, str]:
        return self.value("StudyInstanceUID"), self.value("SeriesInstanceUID")

    def instance(self, uid: str) -> tuple[Values, dict[str, str]]:
        """What the document shows of an instance: its attributes and private VRs."""
        member = self.members[uid]
        shown = member.own(3)
        for number, level in enumerate(self.levels):
            ours, base = member.own(number), level.base
            for key in (ours.keys() | base.keys()) - level.edits.keys():
                if key not in ours:
                    shown[key] = None
                elif key not in base or ours[key] != base[key]:
                    shown[key] = ours[key]
        vrs = {**member.original.vrs, **member.vrs}
        return shown, {key: vr for key, vr in vrs.items() if key in shown}

    def flat(self, uid: str) -> Values:
        """An instance as its Part 10 file has it."""
        member = self.members[uid]
        found: Values = {}
        for number, level in enumerate(self.levels):
            found |= apply_edits(member.own(number), level.edits)
        return found | member.own(3)


@dataclass(frozen=True)
class Version:
    """``content`` is None where none ever was."""

    status: str
    content: Content | None
    forced: bool | None = None
    failed: bool = False


@dataclass(eq=False)
class ImageSet:
    """``created`` orders sets by their age; sets of one transaction have the same."""

    created: int
    origin: str
    is_primary: bool
    id: str = ""
    versions: list[Version] = field(default_factory=list)
    deleted: bool = False

    def __repr__(self) -> str:
        return f"<{self.origin} set {self.id[:6]} at {len(self.versions)}>"

    @property
    def number(self) -> int:
        return len(self.versions)

    @property
    def content(self) -> Content | None:
        return self.versions[-1].content

    @property
    def existing(self) -> Content:
        """The content, where there is some."""
        assert self.content is not None
        return self.content

    def add(self, status: str, content: Content | None, **more: Any) -> None:
        self.versions.append(Version(status, content, **more))


def apply_edits(block: Mapping[str, Any], edits: Edits) -> Values:
    shown = {**block, **edits}
    return {key: value for key, value in shown.items() if value is not REMOVED}


def rebased(content: Content) -> Content:
    """Levels whose base no member carries any more get the oldest member's block."""
    members = content.members.values()
    oldest = min(members, key=lambda member: (member.since, member.original.number))

    def rebase(number: int) -> Level:
        level = content.levels[number]
        if any(member.own(number) == level.base for member in members):
            return level
        return replace(level, base=oldest.own(number))

    return replace(content, levels=(rebase(0), rebase(1), rebase(2)))


@dataclass(eq=False)
class Model:
    """All image sets of a data store, deleted ones too."""

    sets: list[ImageSet] = field(default_factory=list)
    time: int = 0

    @property
    def living(self) -> list[ImageSet]:
        return [one for one in self.sets if not one.deleted]

    def readable(self) -> list[ImageSet]:
        return [one for one in self.living if one.content is not None]

    def primaries(self, study: str) -> list[ImageSet]:
        return [
            one
            for one in self.readable()
            if one.is_primary and one.existing.value("StudyInstanceUID") == study
        ]

    def primary(self, series: tuple[str, str]) -> ImageSet | None:
        found = [one for one in self.readable() if one.is_primary and one.existing.series == series]
        return found[0] if found else None

    def contradicts(self, content: Content, but: ImageSet | None = None) -> bool:
        """Whether another primary set of the study has another PatientID or other values of the study."""
        return any(
            one is not but and any(one.existing.value(key) != content.value(key) for key in _STUDY_VALUES)
            for one in self.primaries(content.value("StudyInstanceUID"))
        )

    # Import ----------------------------------------------------------------------------------------------

    def import_files(
        self,
        files: Sequence[OriginalInstance],
        choose: Callable[[OriginalInstance, Sequence[ImageSet]], ImageSet],
    ) -> list[ImageSet]:
        """Put the files of a job into sets; the set of each file. ``choose`` between sets of the same age."""
        self.time += 1
        groups: dict[tuple[str, ...], list[OriginalInstance]] = {}
        for one in files:
            groups.setdefault(_fresh([one], 1).grouping, []).append(one)
        places = {grouping: self._join(of, choose) for grouping, of in groups.items()}
        return [places[_fresh([one], 1).grouping] for one in files]

    def _join(
        self,
        group: Sequence[OriginalInstance],
        choose: Callable[[OriginalInstance, Sequence[ImageSet]], ImageSet],
    ) -> ImageSet:
        fresh = _fresh(group, 1)
        candidates = [
            one
            for one in self.readable()
            if one.origin == "import" and one.existing.grouping == fresh.grouping
        ]
        if candidates:
            first = min((not one.is_primary, one.created) for one in candidates)
            oldest = [one for one in candidates if (not one.is_primary, one.created) == first]
            target = oldest[0] if len(oldest) == 1 else choose(group[0], oldest)
            added = _fresh(group, target.number + 1).members
            content = replace(target.existing, members={**target.existing.members, **added})
            target.add("IMPORTED", rebased(content))
            return target
        is_primary = self.primary(fresh.series) is None and not self.contradicts(fresh)
        made = ImageSet(self.time, "import", is_primary)
        made.add("CREATED", fresh)
        self.sets.append(made)
        return made


def _fresh(group: Sequence[OriginalInstance], number: int) -> Content:
    """What a job's files of one group come to; the last of a UID wins."""
    members = {one.uid: Member(one, one.uid, number) for one in group}
    levels = min((member.original for member in members.values()), key=lambda one: one.number).levels
    return Content((Level(levels[0]), Level(levels[1]), Level(levels[2])), members)
