"""Updates and reverts of the model: what the service refuses, and what it makes of the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydicom.datadict import dictionary_VM

from tests.lifecycle.model import (
    REMOVED,
    Content,
    ImageSet,
    Level,
    Member,
    Model,
    rebased,
)
from tests.lifecycle.native import Values, level_of, vr_of

VALIDATION = "ValidationException"
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@dataclass
class Part:
    """One blob: attributes by level, and by instance; ``whole`` instances are named by an empty object."""

    levels: tuple[Values, Values, Values] = field(default_factory=lambda: ({}, {}, {}))
    instances: dict[str, Values] = field(default_factory=dict)
    vrs: dict[str, dict[str, str]] = field(default_factory=dict)
    whole: list[str] = field(default_factory=list)

    def blob(self, series: str) -> bytes | None:
        """The JSON of the request; None where nothing is named."""
        patient, study, of_series = self.levels
        instances: dict[str, Any] = {uid: {} for uid in self.whole}
        for uid, values in self.instances.items():
            instances[uid] = {"DICOM": values}
            if uid in self.vrs:
                instances[uid]["DICOMVRs"] = self.vrs[uid]
        found: dict[str, Any] = {"SchemaVersion": 1.1}
        if patient:
            found["Patient"] = {"DICOM": patient}
        below: dict[str, Any] = {}
        if of_series:
            below["DICOM"] = of_series
        if instances:
            below["Instances"] = instances
        whole_study: dict[str, Any] = {}
        if study:
            whole_study["DICOM"] = study
        if below:
            whole_study["Series"] = {series: below}
        if whole_study:
            found["Study"] = whole_study
        return json.dumps(found).encode() if len(found) > 1 else None

    @property
    def all_values(self) -> list[tuple[str, int, str | None]]:
        """Every attribute that is named: key, the level at which it is named, and the instance."""
        found: list[tuple[str, int, str | None]] = [
            (key, level, None) for level, values in enumerate(self.levels) for key in values
        ]
        return found + [(key, 3, uid) for uid, values in self.instances.items() for key in values]


@dataclass
class Change:
    removed: Part = field(default_factory=Part)
    updated: Part = field(default_factory=Part)
    force: bool = False
    study_wide: bool = False

    @property
    def empty(self) -> bool:
        return not (self.removed.all_values or self.removed.whole or self.updated.all_values)


def refusal(target: ImageSet, change: Change) -> str | None:
    """The error by which a change of the latest version is refused, None where it is made."""
    content = target.existing
    named = change.removed.all_values + change.updated.all_values
    allowed = (
        not change.empty
        and _fits_set(target, change)
        and all(_may_be_named(target, change.force, *one) for one in named)
        and _removes_what_is_there(content, change.removed)
        and not set(change.removed.whole) & change.updated.instances.keys()
        and set(change.removed.whole) < content.members.keys()
        and _stays_unique(content, change)
    )
    return None if allowed else VALIDATION


def _fits_set(target: ImageSet, change: Change) -> bool:
    parts = (change.removed, change.updated)
    patient, study, series = (any(part.levels[level] for part in parts) for level in range(3))
    below = series or any(part.instances or part.whole for part in parts)
    if change.study_wide:
        return target.is_primary and not patient and not below
    return not target.is_primary or not (patient or study or series)


def _may_be_named(target: ImageSet, force: bool, key: str, level: int, uid: str | None) -> bool:
    if uid is not None and uid not in target.existing.members:
        return False
    if key in _UIDS and target.is_primary:
        return False
    private = key.isdigit() or key[0].isdigit()
    several = not private and dictionary_VM(key) != "1"
    if not force and (
        key in _UIDS or key == "StudyID" or private or several or (not private and vr_of(key) == "SQ")
    ):
        return False
    if level_of(key) == level:
        return True
    # Under an instance that shows it.
    return (
        uid is not None
        and key not in _UIDS
        and key in target.existing.instance(uid)[0]
        and not target.is_primary
    )


def _removes_what_is_there(content: Content, removed: Part) -> bool:
    places = [(values, content.levels[level].shown) for level, values in enumerate(removed.levels)]
    places += [(values, content.instance(uid)[0]) for uid, values in removed.instances.items()]
    return all(
        key in shown and key not in (*_UIDS, "SOPClassUID") and bare(value) == bare(shown[key])
        for values, shown in places
        for key, value in values.items()
    )


def bare(value: Any) -> Any:
    """A value without padding; blank is empty."""
    if isinstance(value, list):
        return [bare(part) for part in value]
    return (value.rstrip(" ") or None) if isinstance(value, str) else value


def _stays_unique(content: Content, change: Change) -> bool:
    left = [
        change.updated.instances.get(uid, {}).get("SOPInstanceUID", uid)
        for uid in content.members
        if uid not in change.removed.whole
    ]
    return len(left) == len(set(left))


def update(model: Model, target: ImageSet, change: Change) -> list[ImageSet]:
    """Make a change that is not refused; the sets that have a new version."""
    sets = [target]
    if change.study_wide:
        primaries = model.primaries(target.existing.value("StudyInstanceUID"))
        sets += [one for one in primaries if one is not target]
    forced = True if change.force else None
    for one in sets:
        content = changed(one.existing, change, one.number + 1, only_levels=one is not target)
        one.add("UPDATED", content, forced=forced)
    return sets


def changed(content: Content, change: Change, number: int, *, only_levels: bool = False) -> Content:
    levels = []
    for level, removed, updated in zip(
        content.levels, change.removed.levels, change.updated.levels, strict=True
    ):
        edits = {**level.edits, **dict.fromkeys(removed, REMOVED), **updated}
        levels.append(Level(level.base, edits))
    members: Mapping[str, Member] = content.members
    if not only_levels:
        members = _members(content, change, number)
    return rebased(Content((levels[0], levels[1], levels[2]), members))


def _members(content: Content, change: Change, number: int) -> dict[str, Member]:
    found: dict[str, Member] = {}
    for uid, member in content.members.items():
        if uid in change.removed.whole:
            continue
        removed = change.removed.instances.get(uid, {})
        updated = change.updated.instances.get(uid, {})
        if removed or updated:
            known = {**member.original.vrs, **member.vrs, **change.updated.vrs.get(uid, {})}
            member = replace(
                member,
                uid=updated.get("SOPInstanceUID", uid),
                since=number,
                edits={**member.edits, **dict.fromkeys(removed, REMOVED), **updated},
                vrs={**member.vrs, **{key: known.get(key, "UN") for key in updated if key[0].isdigit()}},
            )
        found[member.uid] = member
    return found


def revert_refusal(model: Model, target: ImageSet, version: int) -> str | None:
    if not 1 <= version < target.number or target.versions[version - 1].failed:
        return VALIDATION
    to = target.versions[version - 1].content
    assert to is not None
    if (
        target.is_primary
        and _study_values(to) != _study_values(target.existing)
        and model.contradicts(to, target)
    ):
        return VALIDATION
    return None


def _study_values(content: Content) -> list[str]:
    return [content.value(key) for key in ("PatientID", "StudyDate", "AccessionNumber", "StudyID")]


def revert(target: ImageSet, version: int, *, force: bool = False) -> None:
    now, then = target.existing, target.versions[version - 1].content
    assert then is not None
    members = {}
    for uid, member in then.members.items():
        existing = now.members.get(uid)
        same = existing is not None and (
            existing.original,
            existing.edits,
            existing.vrs,
        ) == (
            member.original,
            member.edits,
            member.vrs,
        )
        members[uid] = existing if existing is not None and same else replace(member, since=target.number + 1)
    target.add("UPDATED", replace(then, members=members), forced=True if force else None)
