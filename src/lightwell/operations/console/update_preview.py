"""What an UpdateImageSetMetadata request would change, before it is made.

The same rules decide as when the request is made. They stop at the first thing that is forbidden, so each
attribute is first tried alone, so that all refusals can be shown at once; then all of them together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Literal

from lightwell.documents.identity import note_image_sets
from lightwell.domain.image_sets.edits import Edit, apply_edits
from lightwell.domain.image_sets.image_set import Summary
from lightwell.domain.image_sets.levels import LEVEL_NAMES, PATIENT, SERIES, STUDY
from lightwell.domain.image_sets.search_columns import columns_of_levels
from lightwell.domain.image_sets.updates import (
    REMOVABLE,
    UPDATABLE,
    Changes,
    InstanceChanges,
    SeriesChanges,
    read_changes,
)
from lightwell.domain.image_sets.version_diff import (
    ABSENT,
    ElementDifference,
    InstanceBlock,
    element_differences,
)
from lightwell.errors import ValidationError
from lightwell.operations import affected_image_sets
from lightwell.operations.context import Context
from lightwell.operations.update_image_set_metadata import check_unique, current_version
from lightwell.operations.version_diff import tag_and_vr
from lightwell.operations.version_ids import version_number
from lightwell.stores.image_sets import lookups, native_instances, studies, version_diff

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.operations.update_plan import CurrentVersion, Plan
    from lightwell.stores.image_sets.changes import LockedImageSet

Verdict = Literal["allowed", "needsForce", "refused"]

MOST_AFFECTED = 200
_MOST_LEVEL_VALUES = 200
_MOST_ATTRIBUTES = 500
"""Each is tried alone, against the whole content of the set."""


@dataclass(frozen=True, slots=True)
class UpdateRequest:
    """The request to preview: the two blobs as JSON text, None where there is none."""

    latest_version: str
    removable: bytes | None
    updatable: bytes | None
    study_wide: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class PreviewedChange:
    """What the request does to one attribute, or with ``key`` None the removal of an instance.

    ``elements`` are the differences in it, several where items of a sequence differ; none if nothing changes.
    ``instances_with_own_value`` counts those that now show another value than their image set, and will no
    longer. ``message`` says why it needs force or is refused.
    """

    level: int
    key: str | None
    sop_instance_uid: str | None
    verdict: Verdict
    message: str | None
    elements: tuple[ElementDifference, ...] = ()
    instances_with_own_value: int = 0


@dataclass(frozen=True, slots=True)
class AffectedSet:
    """Another image set that the request gives a new version."""

    id: str
    summary: Summary


@dataclass(frozen=True, slots=True)
class Preview:
    """What the request would do. ``verdict`` and ``message`` are about all of it together.

    ``next_version`` is the number that the new version would have; ``affected_count`` counts all affected
    sets, of which ``affected`` holds at most `MOST_AFFECTED`. ``contradicting`` are primary sets of other
    series, at most as many, because of which this set could not be promoted afterwards.
    """

    next_version: int
    verdict: Verdict
    message: str | None
    changes: tuple[PreviewedChange, ...]
    affected: tuple[AffectedSet, ...]
    affected_count: int
    contradicting: tuple[AffectedSet, ...] = ()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attribute alone, as a request: by the two blobs of which one is empty."""

    level: int
    key: str | None
    sop_instance_uid: str | None
    removable: Changes
    updatable: Changes


@dataclass(slots=True)
class _Outcome:
    verdict: Verdict
    message: str | None = None
    plan: Plan | None = None


def preview_update(ctx: Context, datastore_id: str, image_set_id: str, request: UpdateRequest) -> Preview:
    """What the request would change, what it needs and what would be refused. Changes nothing.

    Raises `ValidationError` for blobs that are not of the right form or name too much, `NotFoundError` for a
    set that does not exist and, in the service's own words, for a version that is not the latest.
    """
    removable = read_changes(request.removable, REMOVABLE)
    updatable = read_changes(request.updatable, UPDATABLE)
    attempts = list(islice(_attempts(removable, updatable), _MOST_ATTRIBUTES + 1))
    if len(attempts) > _MOST_ATTRIBUTES:
        raise ValidationError(
            f"A preview takes at most {_MOST_ATTRIBUTES} attributes and removed instances: preview the "
            "request in parts."
        )
    note_image_sets(ctx.stores, ctx.note, datastore_id, [image_set_id])
    with ctx.stores.db.read() as conn:
        found = affected_image_sets.look_up(
            conn, datastore_id, image_set_id, version_number(request.latest_version)
        )
        content = current_version(conn, found, removable, updatable)
        own = _OwnValues(conn, found)
        changes = tuple(_previewed(content, attempt, request.study_wide, own) for attempt in attempts)
        whole = _try(content, removable, updatable, request.study_wide, force=request.force)
        if whole.plan is not None:
            try:
                check_unique(conn, found, whole.plan)
            except ValidationError as error:
                whole = _Outcome("refused", str(error))
        affected = []
        if request.study_wide and found.is_primary:
            ids = lookups.primary_siblings(conn, datastore_id, image_set_id, of_series=False)
            affected = sorted(id for id in ids if id != image_set_id)
        sets = tuple(_affected(conn, datastore_id, id) for id in affected[:MOST_AFFECTED])
        contradicting = tuple(
            _affected(conn, datastore_id, id) for id in _contradicting(conn, found, content, whole.plan)
        )
    return Preview(found.number, whole.verdict, whole.message, changes, sets, len(affected), contradicting)


def _contradicting(
    conn: Connection, found: LockedImageSet, content: CurrentVersion, plan: Plan | None
) -> list[str]:
    """The sets of other series that would not let this one be promoted as it then is."""
    if plan is None or found.is_primary or not any(plan.levels[level] for level in (PATIENT, STUDY)):
        return []
    levels = (apply_edits(block, edits) for block, edits in zip(content.levels, plan.levels, strict=True))
    columns = columns_of_levels(*levels)
    if columns.study_instance_uid != found.study_instance_uid:
        return []
    return studies.contradicting_series(conn, found.study, columns, found.series_instance_uid, MOST_AFFECTED)


def _affected(conn: Connection, datastore_id: str, id: str) -> AffectedSet:
    found = lookups.get(conn, datastore_id, id)
    assert found is not None
    return AffectedSet(id, lookups.summary(conn, found.key))


def _attempts(removable: Changes, updatable: Changes) -> Iterator[_Attempt]:
    nothing = Changes()
    for changes, is_removal in ((removable, True), (updatable, False)):
        for level, key, uid, single in _singles(changes):
            yield _Attempt(
                level, key, uid, single if is_removal else nothing, nothing if is_removal else single
            )


def _singles(changes: Changes) -> Iterator[tuple[int, str | None, str | None, Changes]]:
    """Each attribute of a blob alone: level, key, SOPInstanceUID and a blob that names nothing else."""
    for key, value in changes.patient.items():
        yield PATIENT, key, None, Changes(patient={key: value})
    for key, value in changes.study.items():
        yield STUDY, key, None, Changes(study={key: value})
    for series_uid, series in changes.series.items():
        if series.whole:
            yield SERIES, None, None, Changes(series={series_uid: series})
        for key, value in series.dicom.items():
            yield SERIES, key, None, Changes(series={series_uid: SeriesChanges({key: value}, {}, False)})
        for uid, named in series.instances.items():
            if named.whole:
                only = InstanceChanges({}, {}, True)
                yield 3, None, uid, Changes(series={series_uid: SeriesChanges({}, {uid: only}, False)})
            for key, value in named.dicom.items():
                keys = {key, *_nested_keys(value)}
                vrs = {each: named.vrs[each] for each in keys if each in named.vrs}
                only = InstanceChanges({key: value}, vrs, False)
                yield 3, key, uid, Changes(series={series_uid: SeriesChanges({}, {uid: only}, False)})


def _nested_keys(value: object) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _nested_keys(item)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from _nested_keys(part)


def _try(
    content: CurrentVersion, removable: Changes, updatable: Changes, study_wide: bool, *, force: bool
) -> _Outcome:
    """What the rules say: allowed, allowed with force only, or refused."""
    # Imported here because it loads the DICOM dictionary, which takes time and memory.
    from lightwell.operations.update_plan import plan_update

    try:
        return _Outcome(
            "allowed", None, plan_update(content, removable, updatable, force=force, study_wide=study_wide)
        )
    except ValidationError as error:
        reason = str(error)
    if force:
        return _Outcome("refused", reason)
    try:
        plan = plan_update(content, removable, updatable, force=True, study_wide=study_wide)
    except ValidationError as error:
        return _Outcome("refused", str(error))
    return _Outcome("needsForce", reason, plan)


def _previewed(
    content: CurrentVersion, attempt: _Attempt, study_wide: bool, own: _OwnValues
) -> PreviewedChange:
    level, key, uid = attempt.level, attempt.key, attempt.sop_instance_uid
    outcome = _try(content, attempt.removable, attempt.updatable, study_wide, force=False)
    plan = outcome.plan
    if key is None or plan is None:
        return PreviewedChange(level, key, uid, outcome.verdict, outcome.message)
    if uid is None:
        old = InstanceBlock(content.levels[level])
        edit = plan.levels[level][key]
    else:
        instance = content.instances[uid]
        old = InstanceBlock(instance.dicom, instance.vrs)
        edit = plan.changed[uid].edits[key]
    return PreviewedChange(
        level,
        key,
        uid,
        outcome.verdict,
        outcome.message,
        _elements(key, old, edit),
        own.count(level, key) if uid is None else 0,
    )


def _elements(key: str, old: InstanceBlock, edit: Edit | None) -> tuple[ElementDifference, ...]:
    before = {key: old.values[key]} if key in old.values else {}
    after = {} if edit is None else {key: edit.value}
    vrs = {} if edit is None else {**edit.vrs, key: edit.vr}
    if key in before and key not in old.vrs:
        # What has a keyword has the VR of the dictionary, before and after.
        vrs.pop(key, None)
    return element_differences(InstanceBlock(before, old.vrs), InstanceBlock(after, vrs), tag_and_vr)


class _OwnValues:
    """Which attributes instances came with in another value than their image set shows at a level.

    An edit of the level hides such values; see docs/design/versions.md.
    """

    def __init__(self, conn: Connection, found: LockedImageSet) -> None:
        self._conn = conn
        self._found = found
        self._others: dict[int, Sequence[tuple[Mapping[str, object], int]]] = {}
        self._bases: dict[int, Mapping[str, object]] = {}
        self._edited: dict[int, frozenset[str]] = {}

    def count(self, level: int, key: str) -> int:
        """How many instances show another value of ``key``; of at most `_MOST_LEVEL_VALUES` kinds."""
        if level not in self._others:
            self._read(level)
        if key in self._edited[level]:
            return 0
        shown = self._bases[level].get(key, ABSENT)
        return sum(count for body, count in self._others[level] if body.get(key, ABSENT) != shown)

    def _read(self, level: int) -> None:
        block = native_instances.levels(self._conn, self._found.key, self._found.latest_version)[level]
        self._bases[level] = json.loads(block.body)
        self._edited[level] = frozenset(block.edits)
        self._others[level] = [
            (json.loads(native_instances.level_body(self._conn, self._found.key, value)), count)
            for value, count in version_diff.level_values(
                self._conn, self._found.key, level, _MOST_LEVEL_VALUES
            )
            if value != block.base
        ]


def level_name(level: int) -> str:
    """Patient, Study, Series or Instance."""
    return LEVEL_NAMES[level]
