"""The Store Instances Response Module, as a DICOM JSON object, and the status of the response with it.

Source: PS3.18 §10.5.3, Annex I (Table I.1-1, reasons in I.2); Table 10.5.3-1 for the statuses, except
that warnings alone give 200: clients of HealthImaging take 202 for an error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

# Failure Reasons (0008,1197) of Table I.2-2; the standard has none for an instance of another study.
CANNOT_UNDERSTAND, PROCESSING_FAILURE, OTHER_STUDY = 0xC000, 0x0110, 0xA901

# LO; see `_comment`.
_LONGEST_COMMENT = 64

Item = dict[str, object]


@dataclass(frozen=True, slots=True)
class InstanceResult:
    """The outcome of one part of a request; ``part`` counts from 0.

    Stored: the UIDs, and ``warnings``, the JSON array of the manifests or None. Failed: ``reason``, a Failure
    Reason, with a sentence, and the UIDs if the part contains them.
    """

    part: int
    sop_class_uid: str | None
    sop_instance_uid: str | None
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    warnings: str | None = None
    reason: int | None = None
    message: str = ""


def status(instances: Sequence[InstanceResult]) -> int:
    """200 if all are stored, 202 if some are, 409 if none is."""
    failed = sum(each.reason is not None for each in instances)
    if not failed:
        return 200
    return 202 if failed < len(instances) else 409


def report(instances: Sequence[InstanceResult], base_url: str) -> Item:
    """The module; ``base_url`` is the address of the data store.

    In addition to the standard's elements, items have a text for people: `_comment`. A failed item repeats
    its SOPInstanceUID as (0008,0018), where AWS's own client looks for it.
    """
    stored = [_stored(each, base_url) for each in instances if each.reason is None]
    known = [each for each in instances if each.reason is not None and each.sop_instance_uid]
    others = [each for each in instances if each.reason is not None and not each.sop_instance_uid]
    studies = {each.study_instance_uid for each in instances if each.reason is None}
    module: Item = {"00081190": {"vr": "UR"}}
    if len(studies) == 1:
        (study,) = studies
        module["00081190"] = _element("UR", f"{base_url}/studies/{quote(study or '', safe='')}")
    for tag, items in (
        ("00081198", [_failed(each) for each in known]),
        ("00081199", stored),
        ("0008119A", [_other(each) for each in others]),
    ):
        if items:
            module[tag] = {"vr": "SQ", "Value": items}
    return module


def _stored(instance: InstanceResult, base_url: str) -> Item:
    path = "/".join(
        f"{name}/{quote(uid or '', safe='')}"
        for name, uid in (
            ("studies", instance.study_instance_uid),
            ("series", instance.series_instance_uid),
            ("instances", instance.sop_instance_uid),
        )
    )
    warnings = json.loads(instance.warnings) if instance.warnings else []
    comment = _comment("; ".join(dict.fromkeys(w["message"] for w in warnings))) if warnings else {}
    item: Item = {
        "00081150": _element("UI", instance.sop_class_uid),
        "00081155": _element("UI", instance.sop_instance_uid),
        "00081190": _element("UR", f"{base_url}/{path}"),
    }
    if warnings:
        # If several apply, the most appropriate one is given (PS3.18 §I.2.1): the most serious one, which
        # is the one about pixels.
        codes = [w["warning_reason_code"] for w in warnings]
        pixels = [code for code in codes if 0xB100 <= code < 0xB200]
        item["00081196"] = _element("US", (pixels or codes)[0])
    return _item(item, comment)


def _failed(instance: InstanceResult) -> Item:
    item: Item = {
        "00080018": _element("UI", instance.sop_instance_uid),
        "00081150": _element("UI", instance.sop_class_uid),
        "00081155": _element("UI", instance.sop_instance_uid),
        "00081197": _element("US", instance.reason),
    }
    return _item(item, _comment(instance.message))


def _other(instance: InstanceResult) -> Item:
    message = f"Part {instance.part + 1}: {instance.message}"
    return _item({"00081197": _element("US", instance.reason)}, _comment(message))


def _comment(text: str) -> Item:
    """ErrorComment, PS3.7 §C.4.2: 64 characters; a longer text is repeated in full as TextValue."""
    if len(text) <= _LONGEST_COMMENT:
        return {"00000902": _element("LO", text)}
    short = text[: _LONGEST_COMMENT - 1].rstrip() + "…"
    return {"00000902": _element("LO", short), "0040A160": _element("UT", text)}


def _item(*parts: Item) -> Item:
    """One item with all the elements, in tag order."""
    return dict(sorted((tag, element) for part in parts for tag, element in part.items()))


def _element(vr: str, value: object) -> Item:
    return {"vr": vr} if value is None else {"vr": vr, "Value": [value]}
