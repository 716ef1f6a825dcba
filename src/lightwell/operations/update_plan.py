"""What an update would change: the rules, applied to the blobs of a request and the version that it names.

Source: devguide/dicom-metadata-constraints and /update-image-set-metadata. Removals come first, then updates,
both on the same version. All errors in a request are found here, before anything is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from lightwell.domain.image_sets.edits import Edit, Edits, merge_edits
from lightwell.domain.image_sets.levels import INSTANCE, LEVEL_NAMES, PATIENT, SERIES, STUDY
from lightwell.domain.image_sets.updates import (
    FIXED,
    REMOVABLE,
    UPDATABLE,
    Changes,
    InstanceChanges,
    same_value,
)
from lightwell.errors import ValidationError
from lightwell.imaging.dataset.dictionary import PIXEL_TAGS, Attribute, attribute_named
from lightwell.imaging.editing.native_values import TypingRules, typed_edit
from lightwell.stores.image_sets.members import OpenMember

_UIDS = frozenset(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"))
#: Describe the imported file itself: its transfer syntax, and what concerns only writing a file.
_FILE_META_TAGS = frozenset((0x00020000, 0x00020001, 0x00020010))


@dataclass(frozen=True, slots=True)
class PlannedInstance:
    """An instance that a request names, as the document of its version shows it."""

    member: OpenMember
    dicom: Mapping[str, object]
    vrs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CurrentVersion:
    """The version that a request names. ``levels`` are the ``DICOM`` objects of patient, study and series."""

    id: str
    is_primary: bool
    instance_count: int
    levels: tuple[Mapping[str, object], ...]
    series_instance_uid: str
    instances: Mapping[str, PlannedInstance]


@dataclass(slots=True)
class Plan:
    """What an update changes.

    ``levels`` are edits to add to those of each level. ``removed`` and ``changed`` are by present
    SOPInstanceUID; a changed instance may have a new one.
    """

    levels: tuple[dict[str, Edit | None], ...] = field(default_factory=lambda: ({}, {}, {}))
    removed: dict[str, OpenMember] = field(default_factory=dict)
    changed: dict[str, OpenMember] = field(default_factory=dict)

    @property
    def renamed(self) -> list[str]:
        """The new SOPInstanceUIDs."""
        return [
            member.sop_instance_uid for uid, member in self.changed.items() if member.sop_instance_uid != uid
        ]

    def uid(self, level: int, keyword: str) -> str | None:
        """The new UID of a level; None where it does not change."""
        edit = self.levels[level].get(keyword)
        return None if edit is None else str(edit.value)


def named_instances(*blobs: Changes) -> set[str]:
    """The SOPInstanceUIDs that the blobs of a request name."""
    return {uid for changes in blobs for series in changes.series.values() for uid in series.instances}


def plan_update(
    content: CurrentVersion, removable: Changes, updatable: Changes, *, force: bool, study_wide: bool
) -> Plan:
    """Plan the changes of the two blobs. Raises `ValidationError` for the first thing that a rule forbids."""
    if removable.empty and updatable.empty:
        raise ValidationError("The request names nothing to change or to remove.")
    _check_set(content, removable, updatable, study_wide)
    result = Plan()
    for changes, name in ((removable, REMOVABLE), (updatable, UPDATABLE)):
        for uid in changes.series:
            if uid != content.series_instance_uid:
                raise ValidationError(f"{name}: image set {content.id} has no series {uid[:80]}.")
    _Planner(content, result, force).remove(removable)
    _Planner(content, result, force).update(updatable)
    if len(result.removed) == content.instance_count:
        raise _nothing_would_remain(content)
    return result


def _check_set(content: CurrentVersion, removable: Changes, updatable: Changes, study_wide: bool) -> None:
    both = (removable, updatable)
    if study_wide and not content.is_primary:
        raise ValidationError(
            f"includeStudyImageSets is only allowed for primary image sets, and image set "
            f"{content.id} is not "
            "primary."
        )
    if study_wide and any(changes.patient or changes.below_study for changes in both):
        raise ValidationError(
            "With includeStudyImageSets, only attributes of the Study level can be changed."
        )
    if not content.is_primary:
        return
    if any(changes.patient or any(of.dicom for of in changes.series.values()) for changes in both):
        raise ValidationError(
            "Attributes of the Patient and Series levels of a primary image set cannot be changed. Instead, "
            "copy it with CopyImageSet, change the copy, delete the primary image set and promote the copy."
        )
    if any(changes.study for changes in both) and not study_wide:
        raise ValidationError(
            "Attributes of the Study level of a primary image set can only be changed with "
            "includeStudyImageSets, for all primary image sets of the study."
        )


def _nothing_would_remain(content: CurrentVersion) -> ValidationError:
    return ValidationError(
        f"The request would remove everything from image set {content.id}; use DeleteImageSet instead."
    )


class _Planner:
    """Adds one blob after the other to one plan."""

    def __init__(self, content: CurrentVersion, result: Plan, force: bool) -> None:
        self._content = content
        self._plan = result
        self._force = force

    def remove(self, changes: Changes) -> None:
        for level, dicom in _attributes_by_level(changes):
            for key, value in dicom.items():
                attribute = self._attribute(key, level)
                self._check_removed(attribute, key, value, self._content.levels[level])
                self._plan.levels[level][key] = None
        for series in changes.series.values():
            if series.whole:
                raise _nothing_would_remain(self._content)
            for uid, named in series.instances.items():
                instance = self._instance(uid)
                if named.whole:
                    self._plan.removed[uid] = instance.member
                elif named.dicom or named.vrs:
                    self._remove_of(uid, instance, named)

    def _remove_of(self, uid: str, instance: PlannedInstance, named: InstanceChanges) -> None:
        for key, vr in named.vrs.items():
            if key not in named.dicom or instance.vrs.get(key) != vr:
                raise ValidationError(
                    f"{REMOVABLE}: DICOMVRs of instance {uid[:80]} does not list {key[:64]} as {vr[:16]}."
                )
        edits: dict[str, Edit | None] = {}
        for key, value in named.dicom.items():
            attribute = self._attribute(key, INSTANCE, instance)
            self._check_removed(attribute, key, value, instance.dicom)
            edits[key] = None
        self._change(uid, instance, edits)

    def _check_removed(
        self, attribute: Attribute, key: str, value: object, shown: Mapping[str, object]
    ) -> None:
        if key in _UIDS or key == "SOPClassUID":
            raise ValidationError(f"{key} cannot be removed.")
        if key not in shown:
            raise ValidationError(f"{REMOVABLE}: the image set or instance has no {attribute.name}.")
        if not same_value(value, shown[key]):
            raise ValidationError(
                f"{REMOVABLE}: the value given for {attribute.name} is not its present value. To remove an "
                "attribute, name it with the value that it has."
            )

    def update(self, changes: Changes) -> None:
        for level, dicom in _attributes_by_level(changes):
            for key, value in dicom.items():
                attribute = self._attribute(key, level)
                edit = typed_edit(attribute, value, TypingRules({}, self._force))
                if edit.vrs:
                    raise ValidationError(
                        f"{key}: elements without a keyword are not allowed at the {LEVEL_NAMES[level]} "
                        "level, not even inside a sequence."
                    )
                self._plan.levels[level][key] = edit
        for series in changes.series.values():
            for uid, named in series.instances.items():
                if uid in self._plan.removed:
                    raise ValidationError(
                        f"{UPDATABLE}: instance {uid[:80]} is also removed by this request."
                    )
                instance = self._instance(uid)
                if named.dicom or named.vrs:
                    self._update_of(uid, instance, named)

    def _update_of(self, uid: str, instance: PlannedInstance, named: InstanceChanges) -> None:
        rules = TypingRules({**instance.vrs, **named.vrs}, self._force)
        edits: dict[str, Edit | None] = {}
        listed: set[str] = set()
        for key, value in named.dicom.items():
            attribute = self._attribute(key, INSTANCE, instance)
            edit = edits[key] = typed_edit(attribute, value, rules)
            listed |= edit.vrs.keys()
            if not attribute.keyed:
                listed.add(key)
        for key in named.vrs.keys() - listed:
            raise ValidationError(
                f"{UPDATABLE}: DICOMVRs of instance {uid[:80]} lists {key[:64]}, but its DICOM object has no "
                "such element without a keyword."
            )
        self._change(uid, instance, edits)

    def _change(self, uid: str, instance: PlannedInstance, edits: Edits) -> None:
        member = self._plan.changed.get(uid, instance.member)
        renamed = edits.get("SOPInstanceUID")
        if renamed is not None:
            member = replace(member, sop_instance_uid=str(renamed.value))
        self._plan.changed[uid] = replace(member, edits=merge_edits(member.edits, edits))

    def _instance(self, uid: str) -> PlannedInstance:
        instance = self._content.instances.get(uid)
        if instance is None:
            raise ValidationError(f"Image set {self._content.id} has no instance {uid[:80]}.")
        return instance

    def _attribute(self, key: str, level: int, instance: PlannedInstance | None = None) -> Attribute:
        """The attribute that ``key`` names, if it may be changed at this level at all."""
        if key in FIXED:
            raise ValidationError(f"{key} cannot be updated.")
        attribute = attribute_named(key)
        if attribute is None:
            raise ValidationError(
                f"{key[:64]!r} is not a DICOM keyword. Name attributes that have no keyword by the 8 "
                "upper-case hex digits of their tag."
            )
        if attribute.keyed and attribute.keyword != key:
            # An attribute with a keyword is shown by its digits only if its VR in the file does not fit.
            if instance is None or key not in instance.dicom:
                raise ValidationError(f"{key} has the keyword {attribute.keyword}; use the keyword.")
            attribute = replace(attribute, keyword=key, vr="UN", keyed=False, single=None, level=INSTANCE)
        self._check_place(attribute, key, level, instance)
        self._check_force(attribute, key)
        return attribute

    def _check_place(
        self, attribute: Attribute, key: str, level: int, instance: PlannedInstance | None
    ) -> None:
        group, element = attribute.tag >> 16, attribute.tag & 0xFFFF
        if (
            attribute.tag in PIXEL_TAGS
            or attribute.tag in _FILE_META_TAGS
            or group in (0x7FE0, 0xFFFE, 0x0000)
            or not element
        ):
            raise ValidationError(f"{attribute.name} cannot be updated.")
        if attribute.level == level:
            return
        if attribute.private:
            raise ValidationError(f"{key} is private, and private attributes belong to the Instance level.")
        if instance is None or key in _UIDS or key not in instance.dicom:
            raise ValidationError(
                f"{attribute.name} is an attribute of the {LEVEL_NAMES[attribute.level]} level and cannot be "
                f"changed at the {LEVEL_NAMES[level]} level"
                + ("." if instance is None else ": the instance has the value of its image set.")
            )
        if self._content.is_primary:
            raise ValidationError(
                f"{attribute.name} is an attribute of the {LEVEL_NAMES[attribute.level]} level and "
                "cannot be changed at an instance of a primary image set."
            )

    def _check_force(self, attribute: Attribute, key: str) -> None:
        if key in _UIDS and self._content.is_primary:
            raise ValidationError(f"{key} of a primary image set cannot be changed, not even with force.")
        reason = _needs_force(attribute, key)
        if reason is not None and not self._force:
            raise ValidationError(f"{attribute.name} {reason}, so it can only be changed with force.")


def _needs_force(attribute: Attribute, key: str) -> str | None:
    if key in _UIDS or key == "StudyID":
        return "is an identifier"
    if attribute.private:
        return "is private"
    if not attribute.keyed and attribute.vr in ("", "UN"):
        return "is not defined by the standard"
    if attribute.vr == "SQ":
        return "is a sequence"
    if attribute.single is False:
        return "may have several values"
    return None


def _attributes_by_level(changes: Changes) -> Iterable[tuple[int, Mapping[str, object]]]:
    yield PATIENT, changes.patient
    yield STUDY, changes.study
    for series in changes.series.values():
        yield SERIES, series.dicom
