"""Invariants that must be true after every step and every kill; any test may check them."""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, func, select

from lightwell.documents import metadata_documents
from lightwell.domain.image_sets.edits import apply_edits
from lightwell.domain.image_sets.frame_table import PAGE, Frame, unpack_entries
from lightwell.domain.image_sets.grouping import Grouping
from lightwell.domain.image_sets.levels import level_of
from lightwell.domain.image_sets.search_columns import SearchColumns, search_columns
from lightwell.domain.imports.jobs import ALREADY_THERE
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.dataset.original_container import read_original
from lightwell.imaging.pixels.stored_frames import decode_verified
from lightwell.stores import Stores
from lightwell.stores.collector import integrity
from lightwell.stores.db import compression, tables
from lightwell.stores.image_sets import native_instances, part10_instances
from lightwell.stores.image_sets.edits import unpack
from lightwell.stores.image_sets.records import level_bodies
from lightwell.stores.keys import values
from lightwell.stores.objects.pack_objects import pack_name
from tests.encryption import sealed
from tests.support import consistency, search_index


def check(stores: Stores, *, decode: bool = False) -> None:
    """Assert all invariants; with ``decode`` every frame is decoded too, not only read."""
    with stores.db.read() as conn:
        _packs(conn, stores)
        _sets(conn)
        _members(conn)
        _references(conn)
        search_index.check(conn)
        _records(conn, stores)
        _frames(conn, stores, decode)
        _agreement(conn, stores)
        _jobs(conn)
        sealed.check(conn, stores)


def check_collected(stores: Stores, *, older_than: int | None = None) -> None:
    """Assert that a collector has left nothing unreferenced.

    ``older_than``: packs that are younger, ms since the epoch, may be there yet.
    """
    with stores.db.read() as conn:
        _deleted_are_empty(conn)
        _nothing_unnamed(conn)
        keys = _old_packs(conn, older_than)
        everything = set(conn.execute(select(tables.pack.c.key)).scalars())
        assert not _rows(conn, tables.leftover, tables.leftover.c.kind.not_in((0, 8))), "work was left"
        if older_than is None:
            assert not _rows(conn, tables.leftover, tables.leftover.c.kind != 0), "work was left"
    unnamed = {f"{key:016x}" for key in keys}
    assert not unnamed, f"packs that nothing names: {unnamed}"
    stored = {name for name, _ in stores.objects.list("packs")}
    strays = stored - {pack_name(key) for key in everything}
    # Of a storage that it knows less than half of, the collector takes nothing.
    assert len(strays) > len(stored) // 2 or not strays, f"packs without a row: {sorted(strays)}"


def _deleted_are_empty(conn: Connection) -> None:
    deleted = _rows(conn, tables.image_set, tables.image_set.c.state == "DELETED")
    keys = {row.key for row in deleted}
    kept = {"key", "id", "datastore", "study", "origin", "is_primary", "state", "latest_version"}
    kept |= {"readable_version", "created_at", "updated_at", "deleted_at", "last_accessed_at"}
    for row in deleted:
        left = {name for name, value in row._mapping.items() if value is not None} - kept
        assert left == {"instance_count"} and row.instance_count == 0, f"{row.id} still has {left}"
        assert row.deleted_at
    for table in (tables.member, tables.level, tables.primary_series, tables.primary_instance):
        assert not keys & set(conn.execute(select(table.c.image_set)).scalars()), f"a {table.name} is left"
    for version in _rows(conn, tables.version):
        assert version.image_set not in keys or version.message is None
    ids = {row.id for row in deleted}
    tagged = {path.rpartition("/")[2] for path in conn.execute(select(tables.tag.c.resource)).scalars()}
    assert not ids & tagged, "a tag of a deleted set is left"


def _nothing_unnamed(conn: Connection) -> None:
    t = tables

    def named(*columns: Any) -> set[Any]:
        return {key for column in columns for key in conn.execute(select(column)).scalars()}

    record = t.record.c
    for table, names in (
        (t.record, (t.member.c.record, t.staged.c.record)),
        (t.pixels, (record.pixels,)),
        (t.dictionary, (record.dictionary, record.dicom_dictionary)),
        (t.level_value, (record.patient_value, record.study_value, record.series_value, t.level.c.base)),
        (t.instance, (t.member.c.instance,)),
    ):
        assert named(table.c.key) <= named(*names), f"a {table.name} that nothing names"
    assert named(t.frame_table.c.pixels) <= named(t.pixels.c.key)
    living = set(conn.execute(select(t.image_set.c.study).where(t.image_set.c.state == "ACTIVE")).scalars())
    assert named(t.study.c.key) <= living, "a study without an image set"


def _old_packs(conn: Connection, older_than: int | None) -> set[int]:
    """Unreferenced packs of that age."""
    named = set(conn.execute(select(tables.record.c.pack)).scalars())
    named |= set(conn.execute(select(tables.pixels.c.pack)).scalars())
    return {
        row.key
        for row in _rows(conn, tables.pack)
        if row.key not in named and (older_than is None or row.created_at < older_than)
    }


def _rows(conn: Connection, table: Any, *where: Any) -> list[Any]:
    return list(conn.execute(select(table).where(*where)))


def _packs(conn: Connection, stores: Stores) -> None:
    packs = {p.key: p for p in _rows(conn, tables.pack)}
    named = set(conn.execute(select(tables.record.c.pack)).scalars())
    named |= set(conn.execute(select(tables.pixels.c.pack)).scalars())
    for key in named:
        assert packs[key].state == "live", f"pack {key:016x} is named and {packs[key].state}"
    for pack in packs.values():
        if pack.state == "live":
            data = stores.objects.get(pack_name(pack.key))
            assert data is not None, f"the bytes of pack {pack.key:016x} are gone"
            assert (len(data), zlib.crc32(data)) == (pack.size, pack.checksum)
        else:
            assert pack.key not in named


def _sets(conn: Connection) -> None:
    primaries: dict[tuple[Any, ...], int] = defaultdict(int)
    studies = {s.key: s.study_instance_uid for s in _rows(conn, tables.study)}
    for row in _rows(conn, tables.image_set):
        numbers = sorted(v.number for v in _rows(conn, tables.version, tables.version.c.image_set == row.key))
        assert numbers == list(range(1, row.latest_version + 1)), f"versions of {row.id}: {numbers}"
        assert row.readable_version <= row.latest_version
        if row.state == "DELETED":
            continue
        assert studies[row.study] == row.study_instance_uid
        if row.is_primary:
            primaries[row.datastore, row.study_instance_uid, row.series_instance_uid] += 1
        _check_columns(conn, row)
    assert all(count == 1 for count in primaries.values()), "a series with several primary sets"


def _check_columns(conn: Connection, row: Any) -> None:
    if not row.readable_version:
        return
    levels = native_instances.levels(conn, row.key, row.readable_version)
    blocks = [metadata_documents.edited_level(level) for level in levels]
    patient, study, series = blocks

    def text(block: dict[str, Any], keyword: str) -> str:
        return str(block.get(keyword) or "").strip()

    shown = search_columns(
        Grouping(
            text(study, "StudyInstanceUID"),
            text(series, "SeriesInstanceUID"),
            text(patient, "PatientID"),
            text(study, "StudyDate"),
            text(study, "AccessionNumber"),
            text(study, "StudyID"),
            text(series, "SeriesNumber"),
        ),
        patient,
        study,
        series,
    )
    kept = SearchColumns(**{name: getattr(row, name) for name in SearchColumns.__slots__})
    assert kept == shown, f"search columns of {row.id}"
    assert row.series_instance_uid == text(series, "SeriesInstanceUID")
    assert row.listed_in == row.datastore
    found = _rows(conn, tables.member, tables.member.c.image_set == row.key)
    count = sum(_holds(m, row.readable_version) for m in found)
    assert row.instance_count == count, f"{row.id} counts {row.instance_count} instances of {count}"
    assert count > 0


def _holds(row: Any, version: int) -> bool:
    return bool(row.valid_from <= version and (row.valid_to is None or version < row.valid_to))


def _members(conn: Connection) -> None:
    sets = {s.key: s for s in _rows(conn, tables.image_set)}
    uids = {i.key: i.sop_instance_uid for i in _rows(conn, tables.instance)}
    found = {r.key: r for r in _rows(conn, tables.record)}
    keys = conn.execute(select(tables.level_value.c.key)).scalars()
    bodies = {key: json.loads(body) for key, body in level_bodies(conn, keys).items()}
    carried: dict[int, set[tuple[int, str]]] = defaultdict(set)
    open_ones = set()
    for member in _rows(conn, tables.member):
        latest = sets[member.image_set].latest_version
        assert 1 <= member.valid_from <= latest
        assert member.valid_to is None or member.valid_from < member.valid_to <= latest
        record = found[member.record]
        edits = unpack(conn, member.image_set, member.edits)
        uid = native_instances.sop_instance_uid(record.sop_instance_uid, edits)
        assert uids[member.instance] == uid
        assert member.pixels == record.pixels
        if member.valid_to is None:
            assert (member.image_set, member.instance) not in open_ones
            open_ones.add((member.image_set, member.instance))
            for number, value in enumerate((record.patient_value, record.study_value, record.series_value)):
                own = {key: edit for key, edit in edits.items() if level_of(key) == number}
                block = apply_edits(bodies[value], own)
                carried[member.image_set].add((number, json.dumps(block, sort_keys=True)))
    for level in _rows(conn, tables.level, tables.level.c.valid_to.is_(None)):
        if sets[level.image_set].state != "DELETED":
            base = level.level, json.dumps(bodies[level.base], sort_keys=True)
            assert base in carried[level.image_set], "a base that no open member carries"


def _references(conn: Connection) -> None:
    for row in _rows(conn, tables.image_set, tables.image_set.c.state == "ACTIVE"):
        assert not (faults := integrity.faults_of_set(conn, row.key)), f"{row.id}: {faults}"


def _records(conn: Connection, stores: Stores) -> None:
    dictionaries = {
        d.key: values.opened(conn, values.DICTIONARY, d.key, bytes(d.bytes))
        for d in _rows(conn, tables.dictionary)
    }
    keys = set(conn.execute(select(tables.level_value.c.key)).scalars())
    for record in _rows(conn, tables.record):
        body = dictionaries[record.dictionary] if record.dictionary is not None else None
        packed = values.opened(conn, values.FRAGMENT, record.key, bytes(record.fragment_z))
        fragment = json.loads(b"{" + compression.decompress(packed, body) + b"}")
        assert str(fragment["DICOM"]["SOPInstanceUID"]).strip("\0 ") == record.sop_instance_uid
        assert {record.patient_value, record.study_value, record.series_value} <= keys
        name = pack_name(record.pack)
        original = read_original(
            lambda offset, length, name=name: stores.objects.read(name, offset, length),  # type: ignore[misc]
            record.original_offset,
            record.original_length,
        )
        assert original.startswith(b"\x02\x00"), "an original begins with its file meta"


def _frames(conn: Connection, stores: Stores, decode: bool) -> None:
    for pixels in _rows(conn, tables.pixels):
        pages = sorted(
            _rows(conn, tables.frame_table, tables.frame_table.c.pixels == pixels.key),
            key=lambda row: int(row.first_frame),
        )
        assert [p.first_frame for p in pages] == [i * PAGE for i in range(len(pages))]
        frames = [frame for page in pages for frame in unpack_entries(page.entries)]
        assert len(frames) == (pixels.frame_count or 1)
        for frame in frames:
            _check_frame(stores, pixels, frame, decode)


def _check_frame(stores: Stores, pixels: Any, frame: Frame, decode: bool) -> None:
    data = stores.objects.read(pack_name(pixels.pack), frame.offset, frame.length)
    if pixels.checksum_type == "COMPRESSED" or not pixels.frame_count:
        assert zlib.crc32(data[frame.head :]) == frame.checksum or zlib.crc32(data) == frame.checksum
    elif decode:
        fields = {k: v for k, v in json.loads(pixels.image).items() if k != "original_syntax"}
        image = ImageDescription(**fields)
        decode_verified(data, frame.head, pixels.stored_syntax, image, frame.checksum)


_agreed: set[tuple[int, int]] = set()  # (set, version), which never change


def forget() -> None:
    """Check agreement again: for a new database, where keys may repeat, as they never do within one."""
    _agreed.clear()


def _agreement(conn: Connection, stores: Stores) -> None:
    for row in _rows(conn, tables.image_set, tables.image_set.c.state == "ACTIVE"):
        if not row.readable_version or (row.key, row.readable_version) in _agreed:
            continue
        found = part10_instances.ReadableSet(
            row.key,
            row.id,
            row.study_instance_uid,
            row.series_instance_uid,
            row.readable_version,
            row.patient_id,
        )
        wrong = consistency.differences(conn, stores, found, some=2)
        assert not wrong, f"{row.id} in version {row.readable_version}: {wrong}"
        _agreed.add((row.key, row.readable_version))


def _jobs(conn: Connection) -> None:
    for job in _rows(conn, tables.import_job):
        staged = conn.execute(
            select(func.count()).select_from(tables.staged).where(tables.staged.c.job == job.key)
        ).scalar()
        outcomes = _rows(conn, tables.outcome, tables.outcome.c.job == job.key)
        if job.phase != "done":
            assert job.status in ("SUBMITTED", "IN_PROGRESS")
            continue
        assert job.status in ("COMPLETED", "FAILED")
        assert staged == 0, "staged rows of a job that is done"
        left = _rows(conn, tables.unit, tables.unit.c.job == job.key)
        assert all(row.state == "dead" for row in left)
        if not left:
            assert not _rows(conn, tables.chunk, tables.chunk.c.job == job.key)
        if job.status == "FAILED":
            assert job.message
            continue
        files = sorted(o.file for o in outcomes)
        assert files == list(range(job.scanned)), "not every file in exactly one outcome"
        for outcome in outcomes:
            assert (outcome.kind == "imported") == (outcome.image_set is not None)
            told = outcome.message not in (None, ALREADY_THERE)
            assert (outcome.kind != "imported") == told
