"""Instances as they were imported: ``record``, ``pixels``, ``frame_table``, ``level_value``, ``dictionary``.

Immutable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zstandard
from sqlalchemy import Connection, bindparam, select

from lightwell.domain.image_sets.frame_table import PAGE
from lightwell.domain.imports.records import NewRecord
from lightwell.stores.background import gc_candidates
from lightwell.stores.db.bulk import batches, insert_many, insert_missing
from lightwell.stores.db.compression import decompress
from lightwell.stores.db.errors import damaged_database
from lightwell.stores.db.tables import dictionary, frame_table, level_value, pixels, record
from lightwell.stores.keys import values

if TYPE_CHECKING:
    from lightwell.sealing.values import ValueCipher

_LEVEL_KEYS = select(level_value.c.hash, level_value.c.key).where(
    level_value.c.datastore == bindparam("datastore"),
    level_value.c.hash.in_(bindparam("hashes", expanding=True)),
)


def level_values(
    conn: Connection, datastore: int, bodies: Mapping[bytes, bytes], new_keys: Iterable[int]
) -> dict[bytes, int]:
    """The keys of level blocks, by hash; new blocks are inserted under ``new_keys``.

    ``bodies``: hash → zstd-compressed JSON.
    """
    if not bodies:
        return {}
    gc_candidates.lock_shared(conn)
    ciphers = values.ciphers(conn, datastore)
    found = _level_keys(conn, datastore, list(bodies), ciphers)
    gc_candidates.unmark(conn, gc_candidates.LEVEL, found.values())
    missing = [digest for digest in bodies if digest not in found]
    if missing:
        hashed = (lambda digest: digest) if not ciphers else ciphers[0].hash
        sealed = _sealing(ciphers[0] if ciphers else None)
        rows = [
            {
                "key": key,
                "datastore": datastore,
                "hash": hashed(digest),
                "body_z": sealed(values.LEVEL, key, bodies[digest]),
            }
            for digest, key in zip(missing, new_keys, strict=False)
        ]
        insert_missing(conn, level_value, rows, ["datastore", "hash"])
        found |= _level_keys(conn, datastore, missing, ciphers)
    return found


def _level_keys(
    conn: Connection, datastore: int, hashes: Sequence[bytes], ciphers: Sequence[ValueCipher]
) -> dict[bytes, int]:
    # Blocks that came before the data store had a key, or a newer one, are found as well.
    stands_for = {digest: digest for digest in hashes}
    for cipher in ciphers:
        stands_for |= {cipher.hash(digest): digest for digest in hashes}
    found: dict[bytes, int] = {}
    for some in batches(stands_for):
        rows = conn.execute(_LEVEL_KEYS, {"datastore": datastore, "hashes": some})
        found.update((stands_for[bytes(kept)], key) for kept, key in rows)
    return found


def insert(
    conn: Connection,
    datastore: int,
    records: Sequence[NewRecord],
    level_keys: Mapping[bytes, int],
    dictionaries: Mapping[int, bytes],
) -> None:
    """Insert records, their pixels and frame tables in bulk."""
    sealed = _sealing(values.sealer(conn, datastore))
    insert_many(
        conn,
        dictionary,
        [{"key": key, "bytes": sealed(values.DICTIONARY, key, data)} for key, data in dictionaries.items()],
    )
    with_pixels = [(r, r.pixels) for r in records if r.pixels is not None]
    insert_many(
        conn,
        pixels,
        [
            {
                "key": p.key,
                "datastore": datastore,
                "pack": p.pack,
                "stored_syntax": p.stored_syntax,
                "frame_count": p.frame_count,
                "checksum_type": p.checksum_type,
                "width": p.width,
                "height": p.height,
                "image": p.image,
                "decoder": p.decoder,
            }
            for _, p in with_pixels
        ],
    )
    insert_many(
        conn,
        frame_table,
        [
            {"pixels": p.key, "first_frame": number * PAGE, "entries": entries, "checks": checks}
            for _, p in with_pixels
            for number, (entries, checks) in enumerate(zip(p.pages, p.checks, strict=True))
        ],
    )
    insert_many(
        conn,
        record,
        [
            {
                "key": r.key,
                "datastore": datastore,
                "pixels": r.pixels_key,
                "patient_value": level_keys[r.patient],
                "study_value": level_keys[r.study],
                "series_value": level_keys[r.series],
                "sop_instance_uid": r.sop_instance_uid,
                "sop_class_uid": r.sop_class_uid,
                "instance_number": r.instance_number,
                "fragment_z": sealed(values.FRAGMENT, r.key, r.fragment_z),
                "dictionary": r.dictionary,
                "dicom_z": sealed(values.DICOM, r.key, r.dicom_z),
                "dicom_dictionary": r.dicom_dictionary,
                "pack": r.pack,
                "original_offset": r.original_offset,
                "original_length": r.original_length,
                "override_z": r.override_z and sealed(values.OVERRIDE, r.key, r.override_z),
                "warnings": _reasons(r.warnings),
            }
            for r in records
        ],
    )


def _sealing(cipher: ValueCipher | None) -> Callable[[bytes, int, bytes], bytes]:
    """What makes of a value, its column and the key of its row what is kept of it."""
    if cipher is None:
        return lambda place, row, value: value
    return lambda place, row, value: cipher.seal(values.about(place, row), value)


def _reasons(warnings: str | None) -> str | None:
    """The reason codes of a manifest's warnings."""
    if warnings is None:
        return None
    codes = sorted({int(warning["warning_reason_code"]) for warning in json.loads(warnings)})
    return json.dumps(codes, separators=(",", ":")) if codes else None


def sop_instance_uid(conn: Connection, pixels_key: int) -> str | None:
    """The SOPInstanceUID with which some pixels were imported, if their first record is still there."""
    return conn.execute(select(record.c.sop_instance_uid).where(record.c.key == pixels_key)).scalar()


@dataclass(frozen=True, slots=True)
class Levels:
    """The keys of a record's three level values."""

    patient: int
    study: int
    series: int


def levels_of(conn: Connection, record_keys: Sequence[int]) -> dict[int, Levels]:
    """The level values of records, by record key."""
    columns = (record.c.key, record.c.patient_value, record.c.study_value, record.c.series_value)
    found: dict[int, Levels] = {}
    for some in batches(record_keys):
        rows = conn.execute(select(*columns).where(record.c.key.in_(some)))
        found.update((key, Levels(*values)) for key, *values in rows)
    return found


def level_bodies(conn: Connection, keys: Iterable[int], image_set_key: int | None = None) -> dict[int, bytes]:
    """The JSON of level values, by key; ``image_set_key`` and what is raised as in `level_text`."""
    found: dict[int, bytes] = {}
    columns = (level_value.c.key, level_value.c.hash, level_value.c.body_z)
    for some in batches(keys):
        rows = conn.execute(select(*columns).where(level_value.c.key.in_(some)))
        found.update(
            (key, level_text(conn, key, digest, body_z, image_set_key=image_set_key))
            for key, digest, body_z in rows
        )
    return found


def level_text(
    conn: Connection,
    key: int,
    digest: bytes,
    body_z: bytes,
    levels: Sequence[int] = (0, 1, 2),
    *,
    image_set_key: int | None = None,
) -> bytes:
    """The JSON of the level value with this key, compared with its hash as a block of one of ``levels``.

    ``image_set_key`` is that of the set that is read, see `values.opened`. Raises `DamagedError` where it is
    not what was stored, `StorageError` without the key.
    """
    cipher = values.cipher_of(conn, body_z, image_set_key)
    hashed = (lambda digest: digest) if cipher is None else cipher.hash
    try:
        body = decompress(values.opened(conn, values.LEVEL, key, body_z))
    except zstandard.ZstdError as error:
        raise damaged_database(f"A stored attribute block cannot be decompressed ({error})") from None
    if all(hashed(hashlib.sha256(bytes((level,)) + body).digest()) != digest for level in levels):
        raise damaged_database("A stored attribute block has other bytes than were stored: its hash differs")
    return body
