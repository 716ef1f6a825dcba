"""Image sets as an import leaves them, built row by row for tests of what reads them."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from lightwell.clock import Ids
from lightwell.domain.image_sets.frame_table import PAGE, Frame, frame_id, pack_entries
from lightwell.domain.image_sets.grouping import Grouping
from lightwell.domain.image_sets.search_columns import search_columns
from lightwell.domain.keys import ImageSetKey, InstanceKey
from lightwell.settings import Settings
from lightwell.stores import Stores, open_stores
from lightwell.stores.db import tables
from lightwell.stores.db.bulk import insert_many, insert_missing
from lightwell.stores.db.compression import compress
from lightwell.stores.image_sets.changes import study_keys
from lightwell.stores.image_sets.instances import find_or_insert
from lightwell.stores.image_sets.records import level_values
from lightwell.stores.objects.pack_objects import pack_name

HTJ2K = "1.2.840.10008.1.2.4.202"
NOW = 1_763_978_400_000
_ids = Ids()


@dataclass(slots=True)
class BuiltInstance:
    """One instance; ``patient``, ``study`` and ``series`` are its own level blocks, by default the set's.

    ``frames`` are stored bytes, None where it has no pixels; with ``split`` False they are kept as one blob.
    ``with_dictionary`` says whether its attributes are compressed with the set's dictionary.
    """

    uid: str
    number: int | None = None
    dicom: dict[str, Any] = field(default_factory=dict)
    frames: Sequence[bytes] | None = None
    split: bool = True
    syntax: str = HTJ2K
    patient: dict[str, Any] | None = None
    study: dict[str, Any] | None = None
    series: dict[str, Any] | None = None
    from_version: int = 1
    to_version: int | None = None
    pixels_key: int = 0
    with_dictionary: bool = True

    def frame_id(self, number: int = 0) -> str:
        return frame_id(self.pixels_key, number)


@dataclass(slots=True)
class BuiltSet:
    """What was built: its ids, as the API and as the tables know them."""

    key: ImageSetKey
    id: str
    datastore_key: int
    datastore_id: str
    instances: list[BuiltInstance]


def open_at(folder: Path, database_url: str) -> Stores:
    """Stores below a folder, with a database that is migrated already."""
    return open_stores(Settings(data=folder, database_url=database_url))


def datastore(
    conn: Connection, *, key: int | None = None, id: str | None = None, status: str = "ACTIVE"
) -> tuple[int, str]:
    """A data store; ``(key, id)``."""
    key, id = key or _ids.key(), id or _ids.id()
    row = {
        "key": key,
        "id": id,
        "name": "built",
        "status": status,
        "storage_format": "HTJ2K",
        "kms_key_arn": None,
        "lambda_authorizer_arn": None,
        "created_at": NOW,
        "updated_at": NOW,
    }
    insert_many(conn, tables.datastore, [row])
    return key, id


def image_set_row(datastore_key: int, **columns: Any) -> dict[str, Any]:
    """A row of ``image_set`` of a CT series of its own study; ``columns`` replace what it holds."""
    key = columns.pop("key", None) or _ids.key()
    row: dict[str, Any] = {
        "key": key,
        "id": _ids.id(),
        "datastore": datastore_key,
        "study": _ids.key(),
        "series_instance_uid": f"1.2.826.{key}.2",
        "origin": "import",
        "is_primary": True,
        "state": "ACTIVE",
        "latest_version": 1,
        "readable_version": 1,
        "created_at": NOW,
        "updated_at": NOW,
        "deleted_at": None,
        "last_accessed_at": NOW,
        "listed_in": datastore_key,
        "patient_id": "P1",
        "patient_name": "DOE^JANE",
        "patient_birth_date": None,
        "patient_sex": None,
        "study_instance_uid": f"1.2.826.{key}.1",
        "study_id": None,
        "study_description": None,
        "accession_number": None,
        "study_date": None,
        "study_time": None,
        "study_moment": None,
        "series_number": "1",
        "modality": "CT",
        "body_part_examined": None,
        "instance_count": 1,
        "patient_birth_time": None,
        "referring_physician_name": None,
        "series_description": None,
        "requests": None,
        "further": None,
    }
    unknown = set(columns) - set(row)
    assert not unknown, f"no such columns: {unknown}"
    return row | columns


def version_row(image_set: int, number: int = 1, **columns: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "image_set": image_set,
        "number": number,
        "workflow_status": "CREATED" if number == 1 else "IMPORTED",
        "message": None,
        "forced": None,
        "caller": "arn:aws:iam::000000000000:root",
        "created_at": NOW + (number - 1) * 1000,
    }
    return row | columns


def image_set(
    stores: Stores,
    instances: Sequence[BuiltInstance],
    *,
    store: tuple[int, str] | None = None,
    patient: dict[str, Any] | None = None,
    study: dict[str, Any] | None = None,
    series: dict[str, Any] | None = None,
    versions: Sequence[dict[str, Any]] = ({},),
    **columns: Any,
) -> BuiltSet:
    """A set with these instances, their frames in one pack, and one version a member of ``versions``."""
    key, pack_key = _ids.key(), _ids.key()
    blocks = (
        patient or {"PatientID": "P1", "PatientName": "DOE^JANE"},
        study or {"StudyDate": "20200102", "StudyInstanceUID": f"1.2.3.{key}"},
        series or {"Modality": "CT", "SeriesInstanceUID": f"1.2.4.{key}"},
    )
    pack = bytearray(b"head of the pack")
    rows = _Rows(pack_key, pack)
    for instance in instances:
        rows.add(instance, blocks)
    stores.objects.put(pack_name(pack_key), bytes(pack))

    def work(conn: Connection) -> BuiltSet:
        datastore_key, datastore_id = store or datastore(conn)
        number = len(versions)
        grouping = Grouping(
            *(str(blocks[1].get("StudyInstanceUID", "")), str(blocks[2].get("SeriesInstanceUID", ""))),
            *(str(blocks[0].get("PatientID") or ""), str(blocks[1].get("StudyDate") or "")),
            *(str(blocks[1].get("AccessionNumber") or ""), str(blocks[1].get("StudyID") or "")),
            str(blocks[2].get("SeriesNumber") or ""),
        )
        found = search_columns(grouping, *blocks).as_row()
        uid = grouping.study_instance_uid
        insert_missing(
            conn,
            tables.study,
            [{"key": _ids.key(), "datastore": datastore_key, "study_instance_uid": uid}],
            ["datastore", "study_instance_uid"],
        )
        row = image_set_row(
            datastore_key,
            **{
                "key": key,
                "study": study_keys(conn, datastore_key, [uid])[uid],
                "series_instance_uid": grouping.series_instance_uid,
                "latest_version": number,
                "readable_version": number,
                "updated_at": NOW + (number - 1) * 1000,
                "instance_count": len(instances),
                **found,
                **columns,
            },
        )
        insert_many(conn, tables.image_set, [row])
        insert_many(
            conn, tables.version, [version_row(key, i, **values) for i, values in enumerate(versions, 1)]
        )
        rows.insert(conn, datastore_key, key, blocks)
        return BuiltSet(ImageSetKey(key), row["id"], datastore_key, datastore_id, list(instances))

    return stores.db.write(work)


def insert_image_sets(conn: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Rows of `image_set_row`, each with its version 1."""
    insert_many(conn, tables.image_set, rows)
    insert_many(conn, tables.version, [version_row(row["key"]) for row in rows])


class _Rows:
    def __init__(self, pack_key: int, pack: bytearray) -> None:
        self.pack_key = pack_key
        self.pack = pack
        self.dictionary: tuple[int, bytes] | None = None
        self.records: list[dict[str, Any]] = []
        self.pixels: list[dict[str, Any]] = []
        self.pages: list[dict[str, Any]] = []
        self.members: list[dict[str, Any]] = []
        self.instances: dict[str, InstanceKey] = {}
        self.values: dict[tuple[int, bytes], int] = {}  # (level, JSON) → key

    def add(self, instance: BuiltInstance, blocks: tuple[dict[str, Any], ...]) -> None:
        fragment = json_bytes({"DICOM": {"SOPInstanceUID": instance.uid, **instance.dicom}, "DICOMVRs": {}})[
            1:-1
        ]
        if instance.with_dictionary and self.dictionary is None:
            self.dictionary = _ids.key(), fragment
        dictionary = self.dictionary if instance.with_dictionary else None
        own = (instance.patient or blocks[0], instance.study or blocks[1], instance.series or blocks[2])
        keys = self._keys_of(own)
        pixels = None if instance.frames is None else self.add_pixels(instance)
        record = instance.pixels_key or _ids.key()
        self.records.append(
            {
                "key": record,
                "datastore": 0,
                "pixels": pixels,
                "patient_value": keys[0],
                "study_value": keys[1],
                "series_value": keys[2],
                "sop_instance_uid": instance.uid,
                "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
                "instance_number": instance.number,
                "fragment_z": compress(fragment, dictionary[1] if dictionary else None),
                "dictionary": dictionary[0] if dictionary else None,
                "pack": self.pack_key,
                "original_offset": 0,
                "original_length": 0,
                "override_z": None,
            }
        )
        self.instances.setdefault(instance.uid, InstanceKey(record))
        self.members.append(
            {
                "image_set": 0,
                "instance": instance.uid,
                "valid_from": instance.from_version,
                "valid_to": instance.to_version,
                "record": record,
                "pixels": pixels,
                "edits": None,
            }
        )

    def add_pixels(self, instance: BuiltInstance) -> int:
        assert instance.frames is not None
        instance.pixels_key = instance.pixels_key or _ids.key()
        frames = []
        for data in instance.frames if instance.split else [b"".join(instance.frames)]:
            frames.append(Frame(len(self.pack), len(data), 0, zlib.crc32(data), -1, 4095))
            self.pack += data
        self.pixels.append(
            {
                "key": instance.pixels_key,
                "datastore": 0,
                "pack": self.pack_key,
                "stored_syntax": instance.syntax,
                "frame_count": len(frames) if instance.split else 0,
                "checksum_type": "DECOMPRESSED",
                "width": 4,
                "height": 3,
                "image": b"{}",
                "decoder": "test 1",
            }
        )
        self.pages += [
            {
                "pixels": instance.pixels_key,
                "first_frame": first,
                "entries": pack_entries(frames[first : first + PAGE]),
            }
            for first in range(0, len(frames), PAGE)
        ]
        return instance.pixels_key

    def _keys_of(self, blocks: Sequence[dict[str, Any]]) -> list[int]:
        """The keys of the level values of a patient, a study and a series block."""
        return [
            self.values.setdefault((number, json_bytes(block)), _ids.key())
            for number, block in enumerate(blocks)
        ]

    def _insert_values(self, conn: Connection, datastore: int) -> dict[int, int]:
        """What key each level value has, which another set may have stored: by its key of here."""
        digests = {
            hashlib.sha256(bytes((number,)) + body).digest(): (key, body)
            for (number, body), key in self.values.items()
        }
        stored = level_values(
            conn,
            datastore,
            {digest: compress(body) for digest, (_, body) in digests.items()},
            [key for key, _ in digests.values()],
        )
        return {key: stored[digest] for digest, (key, _) in digests.items()}

    def insert(
        self, conn: Connection, datastore: int, image_set: int, blocks: tuple[dict[str, Any], ...]
    ) -> None:
        bases = self._keys_of(blocks)
        for rows in (self.records, self.pixels):
            for row in rows:
                row["datastore"] = datastore
        keys = find_or_insert(conn, datastore, self.instances)
        for row in self.members:
            row["image_set"] = image_set
            row["instance"] = keys[row["instance"]]
        if self.dictionary:
            insert_many(conn, tables.dictionary, [{"key": self.dictionary[0], "bytes": self.dictionary[1]}])
        stored = self._insert_values(conn, datastore)
        bases = [stored[key] for key in bases]
        for row in self.records:
            for name in ("patient_value", "study_value", "series_value"):
                row[name] = stored[row[name]]
        insert_many(
            conn,
            tables.level,
            [
                {
                    "image_set": image_set,
                    "level": number,
                    "valid_from": 1,
                    "valid_to": None,
                    "base": base,
                    "edits": None,
                }
                for number, base in enumerate(bases)
            ],
        )
        insert_many(conn, tables.pixels, self.pixels)
        insert_many(conn, tables.frame_table, self.pages)
        insert_many(conn, tables.record, self.records)
        insert_many(conn, tables.member, self.members)


def json_bytes(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
