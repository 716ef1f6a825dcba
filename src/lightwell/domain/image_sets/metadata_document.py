"""The native metadata document of a version, joined from ready pieces that are never decoded.

``record.fragment_z`` holds ``"DICOM":{…},"DICOMVRs":{…}`` of one instance, ``level_value.body_z`` the JSON
object of a patient, study or series. Both are joined as they are; only what differs between instances of a
set on a level, which is rare, is looked into.

Source: native metadata documents as AWS's samples show them, and devguide/get-image-set-metadata.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from lightwell.domain.image_sets.edits import NONE, Edits, apply_edits
from lightwell.domain.image_sets.frame_table import Frame, read_entry
from lightwell.errors import StorageError

SCHEMA_VERSION = "1.1"

_DICOM = b'"DICOM":{'
_UID = re.compile(r"[0-9.]*", re.ASCII)
_MISSING = object()


@dataclass(frozen=True, slots=True)
class MemberPixels:
    """What a document says of pixels; ``frame_count`` is 0 where they could not be split into frames."""

    key: int
    stored_syntax: str
    checksum_type: str
    frame_count: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Member:
    """One instance of a version.

    ``fragment`` is its ready JSON, ``level_values`` the keys of its own patient, study and series block: both
    as they came, without the ``edits``.
    """

    record: int
    sop_instance_uid: str
    fragment: bytes
    level_values: tuple[int, int, int]
    pixels: MemberPixels | None
    edits: Edits = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LevelBlock:
    """A patient, study or series level of a version.

    ``base`` is the key of the level value with the JSON object ``body``, as it came; ``edits`` go on top.
    """

    base: int
    body: bytes
    edits: Edits = field(default_factory=dict)


def opening(datastore_id: str, image_set_id: str, levels: tuple[bytes, bytes, bytes], series: str) -> bytes:
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
        quoted(series),
        series_block,
    )


CLOSING = b"}}}}}"


def instance_opening(member: Member, differing: bytes) -> bytes:
    """An instance up to and with the bracket that opens its frames.

    ``differing`` holds the members, ``"key":value,…``, in which its level blocks differ from the set's.
    """
    fragment = member.fragment
    if differing:
        fragment = laid_in(fragment, differing)
    pixels = member.pixels
    if pixels is None:
        return b'%s:{%s,"ImageFrames":[' % (quoted(member.sop_instance_uid), fragment)
    return b'%s:{%s,"StoredTransferSyntaxUID":"%s","ChecksumType":"%s","ImageFrames":[' % (
        quoted(member.sop_instance_uid),
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
_FRAME_UNKNOWN = _FRAME_HEAD + b'"MinPixelValue":%s,"MaxPixelValue":%s,"FrameSizeInBytes":%d}'


def frames(pixels: MemberPixels, first: int, entries: Iterable[Frame]) -> bytes:
    """The entries of ``ImageFrames`` from frame number ``first`` on, with commas between.

    ``FrameSizeInBytes`` is the size of what GetImageFrame returns, as documents of 2025 have it.
    """
    key, size = pixels.key, (pixels.width, pixels.height)
    return b",".join(
        [
            _FRAME % (key, number, *size, f.checksum, f.low, f.high, f.length)
            if f.low is not None and f.high is not None
            else _FRAME_UNKNOWN % (key, number, *size, f.checksum, _number(f.low), _number(f.high), f.length)
            for number, f in enumerate(entries, first)
        ]
    )


_ONE_FRAME = (
    b'%s:{%s,"StoredTransferSyntaxUID":"%s","ChecksumType":"%s","ImageFrames":[' + _FRAME + INSTANCE_CLOSING
)


def single_frame(
    uid: str, fragment: bytes, pixels: tuple[int, str, str, int, int], entry: bytes
) -> bytes | None:
    """An instance of one frame as `instance_opening`, `frames` and `INSTANCE_CLOSING` give it, in one go;
    None where the least and the greatest value of its frame are not known.

    ``pixels`` are key, stored syntax, checksum type, width and height; ``entry`` is the frame table's.
    """
    _, length, _, checksum, known, low, high = read_entry(entry)
    if not known:
        return None
    key, syntax, checksum_type, width, height = pixels
    return _ONE_FRAME % (
        quoted(uid),
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


def _number(value: int | None) -> bytes:
    return b"null" if value is None else b"%d" % value


def differences(own: bytes, base: bytes, own_edits: Edits = NONE, level_edits: Edits = NONE) -> bytes:
    """What an instance must show where its level block is not the set's: ``"key":value,…``, may be empty.

    Attributes that the instance has otherwise come with its value. Those that only the set's block has come
    as ``null``, the document's word for an empty value: who lays the levels over each other must not take
    another instance's value for this one's. ``own_edits`` are those of the instance on this level; what
    ``level_edits`` name is the same for all.
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


def laid_in(fragment: bytes, members: bytes) -> bytes:
    """``fragment`` with ``members`` put in front of the others of its DICOM object."""
    if not fragment.startswith(_DICOM):
        raise StorageError(
            "A stored fragment does not begin with its DICOM block; run `lightwell data verify`."
        )
    rest = fragment[len(_DICOM) :]
    return b"".join((_DICOM, members, b"" if rest.startswith(b"}") else b",", rest))


def quoted(text: str) -> bytes:
    """``text`` as a JSON string."""
    if _UID.fullmatch(text):
        return b'"%s"' % text.encode()
    return json.dumps(text, ensure_ascii=False).encode()


def _object(text: bytes) -> dict[str, object]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise StorageError("A stored level block is no JSON object; run `lightwell data verify`.")
    return value
