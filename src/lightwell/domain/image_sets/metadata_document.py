"""The native metadata document of a version, joined from stored pieces that are not decoded.

``record.fragment_z`` holds ``"DICOM":{…},"DICOMVRs":{…}`` of one instance, ``level_value.body_z`` the JSON
object of a patient, study or series. Both are joined as they are; they are decoded only where instances of a
set differ on a level, which is rare.

Source: native metadata documents as AWS's samples show them, and devguide/get-image-set-metadata.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from lightwell.domain.image_sets.edits import NO_EDITS, Edits, apply_edits
from lightwell.domain.image_sets.frame_table import Frame, read_entry
from lightwell.domain.keys import PixelsKey, RecordKey
from lightwell.errors import StorageError

SCHEMA_VERSION = "1.1"

_DICOM = b'"DICOM":{'
_UID = re.compile(r"[0-9.]*", re.ASCII)
_MISSING = object()


@dataclass(frozen=True, slots=True)
class MemberPixels:
    """What a document shows of pixels; ``frame_count`` is 0 if they could not be split into frames."""

    key: PixelsKey
    stored_syntax: str
    checksum_type: str
    frame_count: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Member:
    """One instance of a version.

    ``fragment`` is its stored JSON, ``level_values`` are the keys of its own patient, study and series
    blocks: both as they were imported, without the ``edits``.
    """

    record: RecordKey
    sop_instance_uid: str
    fragment: bytes
    level_values: tuple[int, int, int]
    pixels: MemberPixels | None
    edits: Edits = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LevelBlock:
    """A patient, study or series level of a version.

    ``base`` is the key of the level value with the JSON object ``body``, as it was imported; ``edits`` apply
    to it.
    """

    base: int
    body: bytes
    edits: Edits = field(default_factory=dict)


def document_opening(
    datastore_id: str, image_set_id: str, levels: tuple[bytes, bytes, bytes], series: str
) -> bytes:
    """Everything before the first instance. ``levels`` are the JSON objects of patient, study and series."""
    patient, study, series_block = levels
    return (
        b'{"SchemaVersion":"%s","DatastoreID":"%s","ImageSetID":"%s","Patient":{"DICOM":%s},'
        b'"Study":{"DICOM":%s,"Series":{%s:{"DICOM":%s,"Instances":{'
    ) % (
        SCHEMA_VERSION.encode(),
        datastore_id.encode(),
        image_set_id.encode(),
        patient,
        study,
        json_string(series),
        series_block,
    )


DOCUMENT_CLOSING = b"}}}}}"


def instance_opening(member: Member, differing: bytes) -> bytes:
    """An instance up to and including the bracket that opens its frames.

    ``differing`` holds the JSON members, ``"key":value,…``, in which its level blocks differ from the set's.
    """
    fragment = member.fragment
    if differing:
        fragment = insert_members(fragment, differing)
    pixels = member.pixels
    if pixels is None:
        return b'%s:{%s,"ImageFrames":[' % (json_string(member.sop_instance_uid), fragment)
    return b'%s:{%s,"StoredTransferSyntaxUID":"%s","ChecksumType":"%s","ImageFrames":[' % (
        json_string(member.sop_instance_uid),
        fragment,
        pixels.stored_syntax.encode(),
        pixels.checksum_type.encode(),
    )


INSTANCE_CLOSING = b"]}"

# The id is that of `domain.image_sets.frame_table.frame_id`.
_FRAME_HEAD = (
    b'{"ID":"%016x%08x00000000","PixelDataChecksumFromBaseToFullResolution":'
    b'[{"Width":%d,"Height":%d,"Checksum":%d}],'
)
_FRAME = _FRAME_HEAD + b'"MinPixelValue":%d,"MaxPixelValue":%d,"FrameSizeInBytes":%d}'
_FRAME_WITHOUT_RANGE = _FRAME_HEAD + b'"MinPixelValue":%s,"MaxPixelValue":%s,"FrameSizeInBytes":%d}'


def frame_entries(pixels: MemberPixels, first: int, entries: Iterable[Frame]) -> bytes:
    """The entries of ``ImageFrames`` from frame number ``first`` on, separated by commas.

    ``FrameSizeInBytes`` is the size of what GetImageFrame returns, as in the service's documents of 2025.
    """
    key, size = pixels.key, (pixels.width, pixels.height)
    return b",".join(
        [
            _FRAME % (key, number, *size, f.checksum, f.low, f.high, f.length)
            if f.low is not None and f.high is not None
            else _FRAME_WITHOUT_RANGE
            % (key, number, *size, f.checksum, _number_or_null(f.low), _number_or_null(f.high), f.length)
            for number, f in enumerate(entries, first)
        ]
    )


_SINGLE_FRAME_INSTANCE = (
    b'%s:{%s,"StoredTransferSyntaxUID":"%s","ChecksumType":"%s","ImageFrames":[' + _FRAME + INSTANCE_CLOSING
)


def single_frame_instance(
    uid: str, fragment: bytes, pixels: tuple[int, str, str, int, int], entry: bytes
) -> bytes | None:
    """An instance of one frame, the same bytes as `instance_opening`, `frame_entries` and `INSTANCE_CLOSING`
    give; None where the least and greatest pixel value of its frame are not known.

    ``pixels`` are key, stored syntax, checksum type, width and height; ``entry`` is the frame table's.
    """
    _, length, _, checksum, known, low, high = read_entry(entry)
    if not known:
        return None
    key, syntax, checksum_type, width, height = pixels
    return _SINGLE_FRAME_INSTANCE % (
        json_string(uid),
        fragment,
        syntax.encode(),
        checksum_type.encode(),
        key,
        0,
        width,
        height,
        checksum,
        low,
        high,
        length,
    )


def _number_or_null(value: int | None) -> bytes:
    return b"null" if value is None else b"%d" % value


def level_differences(
    own: bytes, base: bytes, own_edits: Edits = NO_EDITS, level_edits: Edits = NO_EDITS
) -> bytes:
    """What an instance must show if its level block is not the set's: ``"key":value,…``, possibly empty.

    Attributes that differ have the instance's value. Those that only the set's block has are ``null``, which
    means empty in the document: a reader who merges the levels must not take another instance's value for
    this one's. ``own_edits`` are those of the instance on this level; attributes that ``level_edits`` name
    are the same for all.
    """
    ours, theirs = apply_edits(_object(own), own_edits), _object(base)
    for key in level_edits:
        ours.pop(key, None)
        theirs.pop(key, None)
    shown = {key: value for key, value in ours.items() if theirs.get(key, _MISSING) != value}
    shown.update((key, None) for key in theirs if key not in ours)
    if not shown:
        return b""
    ordered = {key: shown[key] for key in sorted(shown)}
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode()[1:-1]


def insert_members(fragment: bytes, members: bytes) -> bytes:
    """``fragment`` with ``members`` inserted before the other members of its DICOM object."""
    if not fragment.startswith(_DICOM):
        raise StorageError(
            "A stored fragment does not begin with its DICOM block; run `lightwell data verify`."
        )
    rest = fragment[len(_DICOM) :]
    return b"".join((_DICOM, members, b"" if rest.startswith(b"}") else b",", rest))


def json_string(text: str) -> bytes:
    """``text`` as a JSON string."""
    if _UID.fullmatch(text):
        return b'"%s"' % text.encode()
    return json.dumps(text, ensure_ascii=False).encode()


def _object(text: bytes) -> dict[str, object]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise StorageError("A stored level block is not a JSON object; run `lightwell data verify`.")
    return value
