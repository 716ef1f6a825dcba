"""Checks that the native document, the DICOM JSON and the Part 10 files of a version agree."""

from __future__ import annotations

import base64
import io
import json
import warnings
from typing import Any

import pydicom
from sqlalchemy import Connection

from lightwell.documents import dicom_json_documents, metadata_documents
from lightwell.documents.part10_files import write_instance
from lightwell.domain.keys import StudyKey
from lightwell.imaging.dataset.dictionary import CHARSET, attribute_named
from lightwell.imaging.editing import dicom_json_edits
from lightwell.imaging.editing.edited_elements import IMAGE_PIXEL_TAGS
from lightwell.operations.dicomweb.lookup import SeriesSet
from lightwell.stores import Stores
from lightwell.stores.image_sets import part10_instances
from lightwell.stores.image_sets.part10_instances import ReadableSet, StoredInstance

_AVAILABLE = "00083002"
#: of how a file is written: its character set, and how decoded frames lie
_OF_THE_FILE = {"00080005", "00280004", "00280006", _AVAILABLE}


def normal(dataset: dict[str, Any]) -> dict[str, Any]:
    """A data set in the words of PS3.18 Annex F where pydicom has others.

    Empty values among several are null, padding inside of texts goes. Group lengths, pixels, tables of frames
    and what pads a data set at its end are left out.
    """
    return {
        key: _normal(element)
        for key, element in dataset.items()
        if not key.endswith("0000") and key[:4] != "7FE0" and key != "FFFCFFFC"
    }


def _normal(element: Any) -> Any:
    if element is UNREADABLE or not element.get("Value"):
        return {"vr": element["vr"]} if element.get("Value") == [] else element
    values = element["Value"]
    if element["vr"] == "SQ":
        return {"vr": "SQ", "Value": [normal(item) for item in values]}
    values = [
        value.strip() or None if isinstance(value, str) else value or None if value == {} else value
        for value in values
    ]
    return {"vr": element["vr"]} if values == [None] else {"vr": element["vr"], "Value": values}


class _Unreadable(dict[str, Any]):
    """An element that pydicom refuses: equal to whatever we make of it."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None


UNREADABLE = _Unreadable(vr="??")


def by_pydicom(data: bytes) -> dict[str, Any]:
    """A Part 10 file as pydicom has it in the DICOM JSON Model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return normal(_read(pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)))


def _read(dataset: pydicom.Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {}
    element: dict[str, Any]
    for tag in sorted(dataset.keys()):
        raw = dataset.get_item(tag)
        try:
            # Bytes whose VR the file does not tell stay, even if a private dictionary knows better.
            if raw.VR == "UN" and tag.is_private and not tag.is_private_creator and raw.is_raw and raw.value:
                element = {"vr": "UN", "InlineBinary": base64.b64encode(raw.value).decode()}
            elif dataset[tag].VR == "SQ":
                element = {"vr": "SQ", "Value": [_read(item) for item in dataset[tag].value]}
            else:
                element = dataset[tag].to_json_dict(lambda element: "bulk", (1 << 20) + 1)
        except Exception:
            element = UNREADABLE
        found[f"{tag:08X}"] = element
    return found


def instances(conn: Connection, stores: Stores, found: ReadableSet) -> dict[str, dict[str, Any]]:
    """The DICOM JSON of the instances of a set, by SOPInstanceUID."""
    uids = found.study_instance_uid, found.series_instance_uid
    named = SeriesSet(found.key, found.id, 0, "", StudyKey(0), *uids, found.version, False, 0)
    array = json.loads(b"".join(dicom_json_documents.series_pieces(conn, stores, named, with_meta=False)))
    return {item["00080018"]["Value"][0]: item for item in array}


def differences(conn: Connection, stores: Stores, found: ReadableSet, *, some: int = 4) -> list[str]:
    """The differences among the first instances of a set's readable version."""
    shown = instances(conn, stores, found)
    stored = part10_instances.instances(conn, found.key, found.version)
    native = _native(conn, found)
    wrong = [] if set(shown) == {each.sop_instance_uid for each in stored} else ["instances"]
    for each in stored[:some]:
        of_file = io.BytesIO()
        write_instance(stores, each, of_file)
        ours = {k: v for k, v in shown[each.sop_instance_uid].items() if k not in _OF_THE_FILE}
        theirs = {k: v for k, v in by_pydicom(of_file.getvalue()).items() if k not in _OF_THE_FILE}
        wrong += [f"file: {text}" for text in unlike(without_urls(normal(ours)), without_urls(theirs))]
        wrong += [f"document: {text}" for text in _unlike_native(ours, native[each.sop_instance_uid], each)]
    return wrong


def unlike(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    keys = sorted(ours.keys() | theirs.keys())
    return [
        f"{key}: {str(ours.get(key))[:120]} is not {str(theirs.get(key))[:120]}"
        for key in keys
        if theirs.get(key) != ours.get(key)
    ]


def without_urls(dataset: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for key, element in dataset.items():
        if "BulkDataURI" in element:
            element = {**element, "BulkDataURI": "bulk"}
        elif element["vr"] == "SQ" and "Value" in element:
            element = {**element, "Value": [without_urls(item) for item in element["Value"]]}
        found[key] = element
    return found


def _native(conn: Connection, found: ReadableSet) -> dict[str, dict[str, Any]]:
    """What the native document shows of each instance, its levels included."""
    named: Any = found
    document = json.loads(
        b"".join(metadata_documents.native_document_pieces(conn, "0" * 32, named, found.version))
    )
    study = document["Study"]
    (series,) = study["Series"].values()
    levels = {**document["Patient"]["DICOM"], **study["DICOM"], **series["DICOM"]}
    return {uid: {**levels, **each["DICOM"]} for uid, each in series["Instances"].items()}


def _unlike_native(ours: dict[str, Any], native: dict[str, Any], stored: StoredInstance) -> list[str]:
    """Plain values under keywords for which the file and the dictionary have the same VR."""
    wrong = []
    fixed = {CHARSET, *(IMAGE_PIXEL_TAGS if stored.pixels else ())}
    for keyword, value in native.items():
        attribute = attribute_named(keyword)
        assert attribute is not None
        element = ours.get(attribute.hex)
        if (
            keyword == "DataSetTrailingPadding"
            or not attribute.keyed
            or attribute.tag >> 16 == 2
            or attribute.tag in fixed
            or value is None
        ):
            continue
        if element is None:
            wrong.append(f"{keyword} is missing")
        elif element["vr"] == attribute.vr != "SQ" and "BulkDataURI" not in element and value != "":
            text = b"{%s}" % dicom_json_edits.element(attribute, attribute.vr, value)
            expected = normal(json.loads(text))[attribute.hex]
            if normal({attribute.hex: element})[attribute.hex] != expected:
                wrong.append(f"{keyword}: {str(element)[:120]} is not {str(expected)[:120]}")
    return wrong
