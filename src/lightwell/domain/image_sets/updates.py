"""The blobs of an UpdateImageSetMetadata request, read and checked for their form.

Source: devguide/update-image-set-metadata and /dicom-metadata-constraints. A blob is an excerpt of the native
document: it contains only what is to be changed or removed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from lightwell.domain.limits import NESTING
from lightwell.errors import ValidationError

PAYLOAD_QUOTA = 10 * 1024
"""Bytes of both blobs together; a published quota of the service (devguide/endpoints-quotas)."""

# A sequence is an array of objects, below Study, Series, a UID, Instances, another UID and DICOM.
_DEPTH = 2 * NESTING + 10

UPDATABLE, REMOVABLE = "updatableAttributes", "removableAttributes"

#: What no request can change, by the constraints page, and other members of a document beside DICOM objects.
FIXED = frozenset(
    {
        "SchemaVersion", "DatastoreID", "ImageSetID", "PixelData", "Checksum", "Width", "Height",
        "MinPixelValue", "MaxPixelValue", "FrameSizeInBytes", "ImageFrames", "StoredTransferSyntaxUID",
        "ChecksumType", "ID", "PixelDataChecksumFromBaseToFullResolution",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class InstanceChanges:
    """Changes of one instance. ``whole``: the instance itself is named, by an empty object."""

    dicom: Mapping[str, object]
    vrs: Mapping[str, str]
    whole: bool


@dataclass(frozen=True, slots=True)
class SeriesChanges:
    """Changes of one series. ``whole``: the series itself is named, by an empty object."""

    dicom: Mapping[str, object]
    instances: Mapping[str, InstanceChanges]
    whole: bool


@dataclass(frozen=True, slots=True)
class Changes:
    """What one blob names, level by level; series and instances by their present UIDs."""

    patient: Mapping[str, object] = field(default_factory=dict)
    study: Mapping[str, object] = field(default_factory=dict)
    series: Mapping[str, SeriesChanges] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether the blob names nothing."""
        return not (self.patient or self.study or any(_is_named(of) for of in self.series.values()))

    @property
    def below_study(self) -> bool:
        """Whether a series, an instance or one of their attributes is named."""
        return any(_is_named(of) for of in self.series.values())


def _is_named(series: SeriesChanges) -> bool:
    return bool(
        series.whole or series.dicom or any(i.whole or i.dicom or i.vrs for i in series.instances.values())
    )


def read_changes(blob: bytes | None, name: str) -> Changes:
    """Read a blob; ``name`` is `UPDATABLE` or `REMOVABLE`. None is a blob that names nothing.

    Raises `ValidationError` for a blob that is not valid JSON, does not have SchemaVersion 1.1, or has
    members that a document does not have.
    """
    if blob is None:
        return Changes()
    document = _members(_parse_json(blob, name), name, "the document", "SchemaVersion", "Patient", "Study")
    version = document.get("SchemaVersion")
    if version != "1.1" and (isinstance(version, bool) or version != 1.1):
        raise ValidationError(f"{name}: SchemaVersion must be 1.1.")
    patient = _members(document.get("Patient", {}), name, "Patient", "DICOM")
    study = _members(document.get("Study", {}), name, "Study", "DICOM", "Series")
    return Changes(
        _dicom(patient, name, "Patient"),
        _dicom(study, name, "Study"),
        {
            uid: _series(value, name, f"Study.Series.{uid[:80]}")
            for uid, value in _object(study.get("Series", {}), name, "Study.Series").items()
        },
    )


def _series(value: object, name: str, path: str) -> SeriesChanges:
    found = _members(value, name, path, "DICOM", "Instances")
    if not found and name == UPDATABLE:
        raise ValidationError(f"{name}: {path} is empty: name the attributes to change.")
    instances = _object(found.get("Instances", {}), name, f"{path}.Instances")
    return SeriesChanges(
        _dicom(found, name, path),
        {uid: _instance(value, name, f"{path}.Instances.{uid[:80]}") for uid, value in instances.items()},
        not found,
    )


def _instance(value: object, name: str, path: str) -> InstanceChanges:
    found = _members(value, name, path, "DICOM", "DICOMVRs")
    if not found and name == UPDATABLE:
        raise ValidationError(f"{name}: {path} is empty: name the attributes to change.")
    vrs: dict[str, str] = {}
    for key, vr in _object(found.get("DICOMVRs", {}), name, f"{path}.DICOMVRs").items():
        if not isinstance(vr, str):
            raise ValidationError(f"{name}: {path}.DICOMVRs.{key[:64]} must be a string.")
        vrs[key] = vr
    return InstanceChanges(_dicom(found, name, path), vrs, not found)


def _dicom(found: Mapping[str, object], name: str, path: str) -> Mapping[str, object]:
    return _object(found.get("DICOM", {}), name, f"{path}.DICOM")


def _object(value: object, name: str, path: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise ValidationError(f"{name}: {path} must be an object.")
    return value


def _members(value: object, name: str, path: str, *known: str) -> Mapping[str, object]:
    found = _object(value, name, path)
    for key in found:
        if key in FIXED and key not in known:
            raise ValidationError(f"{name}: {key} cannot be updated.")
        if key not in known:
            raise ValidationError(
                f"{name}: {path} has no member {key[:64]!r}; it has {', '.join(known)}. Attributes belong in "
                "DICOM objects."
            )
    return found


def _parse_json(blob: bytes, name: str) -> object:
    def refuse_constant(text: str) -> NoReturn:
        raise ValueError(f"{text} is not a JSON number")

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(items)
        if len(found) != len(items):
            names = [key for key, _ in items]
            twice = next(key for key in names if names.count(key) > 1)
            raise ValueError(f"the name {twice[:64]!r} is given twice in one object")
        return found

    try:
        value: object = json.loads(
            blob.decode("utf-8"), object_pairs_hook=pairs, parse_constant=refuse_constant
        )
        _check_depth(value)
        # Half of a surrogate pair can be escaped in JSON, but not stored.
        text = json.dumps(value, ensure_ascii=False)
        text.encode()
    except UnicodeError:
        raise ValidationError(f"{name} is not valid JSON: it is not UTF-8.") from None
    except RecursionError:
        raise ValidationError(f"{name} is nested too deeply.") from None
    except ValueError as error:
        raise ValidationError(f"{name} is not valid JSON: {error}.") from None
    # Values to remove may be padded with it, since they are only compared.
    if "\\u0000" in text and name == UPDATABLE:
        raise ValidationError(f"{name} holds the character U+0000, which cannot be stored.")
    return value


def _check_depth(value: object) -> None:
    """Raise RecursionError for a value nested deeper than any document, before recursive functions see it."""
    here = [value]
    for _ in range(_DEPTH):
        inside: list[object] = []
        for each in here:
            if isinstance(each, dict):
                inside += each.values()
            elif isinstance(each, list):
                inside += each
        if not inside:
            return
        here = inside
    raise RecursionError


def same_value(given: object, held: object) -> bool:
    """Whether a removable attribute is named with its present value.

    Compares as JSON, without trailing padding; null and blank are the same empty value.
    """
    return _comparable_json(given) == _comparable_json(held)


def _comparable_json(value: object) -> str:
    return json.dumps(_normalized(value), sort_keys=True)


def _normalized(value: object) -> object:
    if isinstance(value, str):
        return value.rstrip(" \0") or None
    if isinstance(value, list):
        return [_normalized(part) for part in value]
    if isinstance(value, dict):
        return {key: _normalized(part) for key, part in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
