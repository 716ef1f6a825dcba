"""Requests of the random runs: mostly such as are granted, now and then one that must be refused."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.lifecycle import files
from tests.lifecycle.changes import Change
from tests.lifecycle.copies import Copy
from tests.lifecycle.model import ImageSet, Model
from tests.lifecycle.native import level_of
from tests.support.ct_files import ROOT

_CODE = [{"CodeValue": "X1", "CodingSchemeDesignator": "99LW", "CodeMeaning": "made up"}]
_VALUES: dict[str, tuple[Any, ...]] = {
    "PatientName": ("NEU^ANNA", "DÖE^JANE", "DOE^JANE", None),
    "PatientID": ("P1", "P2", "P3"),
    "PatientBirthDate": ("19700203", "19711111", None),
    "PatientComments": ("new here", "new again"),
    "OtherPatientNames": (["A^B"], ["A^B", "C^D"]),
    "StudyDescription": ("changed", "other", None),
    "StudyDate": ("20240102", "20231231"),
    "AccessionNumber": ("A1", "A2", None),
    "StudyID": ("S1", "S2"),
    "PatientWeight": ("61", "70.5"),
    "ReferringPhysicianName": ("REF^ERRER", None),
    "ProcedureCodeSequence": (_CODE,),
    "StudyInstanceUID": (files.study_uid("1"), files.study_uid("2"), files.study_uid("3")),
    "SeriesDescription": ("renamed", "head", None),
    "SeriesNumber": ("77", "12"),
    "Manufacturer": ("Maker", "Other", "Third"),
    "SoftwareVersions": (["1"], ["2", "b"]),
    "Laterality": ("L", "R"),
    "SeriesInstanceUID": (files.series_uid("1", "1"), files.series_uid("1", "2"), files.series_uid("2", "9")),
    "ImageComments": ("looked at", "ünï", None),
    "KVP": ("120", "80", None),
    "WindowCenter": (["40"], ["50", "700"]),
    "ReferencePixelX0": (-5, 12),
    "TableSpeed": (0.25, 3),
    "AcquisitionDate": ("20240102", None),
    "AnatomicRegionSequence": (_CODE, None),
    "00091001": ("private too", ""),
    "00091003": ("97",),
}
_BY_LEVEL = [[key for key in _VALUES if level_of(key) == level] for level in range(4)]


def change(chance: Random, model: Model, target: ImageSet) -> Change:
    """An update of ``target``: one to three attributes or instances."""
    made = Change(force=chance.random() < 0.6)
    if target.is_primary and chance.random() < 0.5:
        made.study_wide = True
    for _ in range(chance.choice((1, 1, 2, 3))):
        kind = chance.random()
        if made.study_wide and chance.random() < 0.95:
            _level(chance, target, made, 1, removal=kind < 0.25)
        elif target.is_primary and chance.random() < 0.9:
            _instance(chance, target, made)
        elif kind < 0.55:
            _level(chance, target, made, chance.randrange(3), removal=kind < 0.15)
        else:
            _instance(chance, target, made)
    return made


def _level(chance: Random, target: ImageSet, made: Change, level: int, *, removal: bool) -> None:
    shown = target.existing.levels[level].shown
    key = chance.choice([key for key in _BY_LEVEL[level] if not removal or key in shown] or ["PatientName"])
    if level_of(key) != level or any(key in part.levels[level] for part in (made.removed, made.updated)):
        return
    if removal:
        made.removed.levels[level][key] = shown[key] if chance.random() < 0.9 else "something else"
    else:
        made.updated.levels[level][key] = chance.choice(_VALUES[key])


def _instance(chance: Random, target: ImageSet, made: Change) -> None:
    uid = chance.choice(list(target.existing.members))
    kind = chance.random()
    if kind < 0.12:
        # Now and then also one that the same request changes, which is refused.
        if uid not in made.removed.whole and uid not in made.removed.instances:
            made.removed.whole.append(uid)
        return
    if uid in made.removed.whole:
        return
    if kind < 0.22 and not target.is_primary:
        return _rename(chance, target, made, uid)
    shown, _ = target.existing.instance(uid)
    levelled = [key for key in shown if level_of(key) < 3 and key in _VALUES]
    key = chance.choice(levelled) if levelled and chance.random() < 0.4 else chance.choice(_BY_LEVEL[3])
    if any(key in part.instances.get(uid, {}) for part in (made.removed, made.updated)):
        return
    if kind < 0.4 and key in shown:
        made.removed.instances.setdefault(uid, {})[key] = shown[key] if chance.random() < 0.9 else "wrong"
        return
    made.updated.instances.setdefault(uid, {})[key] = chance.choice(_VALUES[key])
    if key == "00091003":
        made.updated.vrs.setdefault(uid, {})[key] = "DS"


def _rename(chance: Random, target: ImageSet, made: Change, uid: str) -> None:
    """Another SOPInstanceUID: a new one, one that the series has elsewhere, or that of a neighbour."""
    series = chance.choice(files.SERIES)
    new = f"{files.series_uid('1', series)}.{chance.choice((*files.PLACES, 8, 9))}"
    others = [one for one in target.existing.members if one != uid]
    if others and chance.random() < 0.3:
        other = chance.choice(others)
        made.updated.instances.setdefault(uid, {})["SOPInstanceUID"] = other
        if chance.random() < 0.8:
            made.updated.instances.setdefault(other, {})["SOPInstanceUID"] = uid
    else:
        made.updated.instances.setdefault(uid, {})["SOPInstanceUID"] = new


def copy(chance: Random, model: Model, source: ImageSet) -> Copy:
    """A copy of ``source``: to a new set or another one, of all or some instances."""
    only = None
    if chance.random() < 0.4:
        existing = list(source.existing.members)
        only = tuple(chance.sample(existing, chance.randint(1, len(existing))))
        if chance.random() < 0.05:
            only += (f"{ROOT}.404",)
    destination = None
    if chance.random() < 0.6:
        others = model.readable()
        # Sets that have none of the instances are few; they are what a copy is made for.
        wanted = set(only or source.existing.members)
        fitting = [one for one in others if not wanted & one.existing.members.keys()]
        destination = chance.choice(fitting if fitting and chance.random() < 0.8 else others)
    return Copy(source, destination, only, force=chance.random() < 0.5)
