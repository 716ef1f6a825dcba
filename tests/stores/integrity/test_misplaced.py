"""What an image set names and is not its own is served by no way of reading it, and told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from lightwell.clock import Clock, Ids
from lightwell.documents import metadata_documents
from lightwell.domain.events import EventHeader
from lightwell.errors import DamagedError
from lightwell.operations.dicomweb.frames import InstanceFrames
from lightwell.operations.get_image_frame import FrameReader
from lightwell.sealing.providers.local_file import LocalFileKeys
from lightwell.stores import Stores
from lightwell.stores.collector import integrity
from lightwell.stores.db import errors, tables
from lightwell.stores.db.compression import FragmentCompressor, compress
from lightwell.stores.frames import in_order
from lightwell.stores.image_sets import (
    dicom_json_instances,
    lookups,
    members,
    native_instances,
    part10_instances,
)
from lightwell.stores.integrity.damage_reports import DamageReports
from lightwell.stores.keys import values
from lightwell.stores.keys.ring import KeyRing
from lightwell.stores.qido import hit_instances
from lightwell.stores.qido.search import Hit
from tests.stores.integrity.pointing import (
    POINTERS,
    Three,
    change,
    put_back,
    record_of,
    rows_of,
    three_sets,
)
from tests.support import image_set_builders
from tests.support.image_set_builders import NOW, BuiltSet


@pytest.fixture
def stores(database_url: str, tmp_path: Path) -> Iterator[Stores]:
    found = image_set_builders.open_at(tmp_path, database_url)
    yield found
    errors.tell(None)
    found.close()


@pytest.fixture
def three(stores: Stores) -> Three:
    return three_sets(stores)


REFUSED = "refused"


class Reading:
    """Every way to read an image set, as it is stored now."""

    def __init__(self, stores: Stores, of: BuiltSet) -> None:
        self._stores = stores
        self._of = of
        with stores.db.read() as conn:
            row = conn.execute(select(tables.image_set).where(tables.image_set.c.key == of.key)).one()
        self._uids = row.study_instance_uid, row.series_instance_uid, of.instances[0].uid
        self._warm = FrameReader(stores, Clock())
        self._warm_frames = InstanceFrames(self._warm)

    def everything(self, *frame_ids: str) -> dict[str, Any]:
        """What each yields, or `REFUSED`."""
        ways: dict[str, Callable[[Any], Any]] = {
            "metadata": self._document,
            "DICOM JSON": self._dicom_json,
            "Part 10": self._part10,
            "Part 10 of one": self._part10_of_one,
            "list of frames": lambda conn: in_order.instances(conn, self._of.key, 1),
            "levels to change": lambda conn: members.open_levels(conn, self._of.key),
            "search hit": self._hit,
            "DICOMweb frame": lambda conn: self._instance(InstanceFrames(FrameReader(self._stores, Clock()))),
            "DICOMweb frame, cached": lambda conn: self._instance(self._warm_frames),
        }
        for id in (self._of.instances[0].frame_id(), *frame_ids):
            ways[f"frame {id}"] = partial(self._frame, FrameReader(self._stores, Clock()), id)
            ways[f"frame {id}, cached"] = partial(self._frame, self._warm, id)
        found = {}
        for name, way in ways.items():
            try:
                with self._stores.db.read() as conn:
                    found[name] = way(conn)
            except DamagedError:
                found[name] = REFUSED
            except Exception as error:
                found[name] = type(error).__name__
        return found

    def _document(self, conn: Any) -> Any:
        found = lookups.find(conn, self._of.id)
        assert found is not None
        pieces = metadata_documents.native_document_pieces(conn, self._of.datastore_id, found[1], 1)
        return json.loads(b"".join(pieces))

    def _dicom_json(self, conn: Any) -> Any:
        found = [each for batch in dicom_json_instances.batches(conn, self._of.key, 1) for each in batch]
        fragments = native_instances.InstanceFragments(conn, self._of.key)
        return found, [each.dicom_z and fragments.read(each.dicom_z, each.dictionary) for each in found]

    def _part10(self, conn: Any) -> Any:
        return part10_instances.instances(conn, self._of.key, 1)

    def _part10_of_one(self, conn: Any) -> Any:
        uid = self._of.instances[0].uid
        return part10_instances.find_instance(conn, self._of.key, 1, self._of.datastore_key, uid)

    def _hit(self, conn: Any) -> Any:
        key = self._of.instances[0].pixels_key
        return hit_instances.rows(conn, [Hit(0, self._of.key, key, key, {})])

    def _instance(self, frames: InstanceFrames) -> Any:
        found = frames.find(self._of.datastore_id, *self._uids)
        return found.key, frames.frame(found, 1).place.object

    def _frame(self, reader: FrameReader, id: str, conn: Any) -> Any:
        place = reader.locate(self._of.datastore_id, self._of.id, id)
        return bytes(reader.read(place, 0, place.length))


_ALL = {"metadata", "DICOM JSON", "Part 10", "Part 10 of one", "list of frames", "DICOMweb frame"}
MUST_REFUSE = {
    # Of another data store; of another patient in the same.
    "member.record": (_ALL, _ALL),
    "member.pixels": ({"metadata", "Part 10", "Part 10 of one", "list of frames", "DICOMweb frame"},) * 2,
    "member.record and pixels": (_ALL, _ALL),
    "all of a member": ({"metadata", "DICOM JSON", "Part 10", "list of frames"}, set()),
    "record.pixels": ({"metadata", "Part 10", "list of frames"}, {"metadata", "Part 10", "list of frames"}),
    "record.patient_value": ({"metadata"}, set()),
    "record.study_value": ({"metadata"}, set()),
    "record.series_value": ({"metadata"}, set()),
    "level.base, patient": ({"metadata", "levels to change", "Part 10", "DICOM JSON"}, {"metadata"}),
    "level.base, study": ({"metadata", "levels to change", "Part 10", "DICOM JSON"}, {"metadata"}),
    "level.base, series": ({"metadata", "levels to change", "Part 10", "DICOM JSON"}, {"metadata"}),
    "record.pack": ({"Part 10", "Part 10 of one"}, set()),
    "pixels.pack": ({"Part 10", "Part 10 of one", "DICOMweb frame"}, set()),
    "record.datastore": ({"metadata", "DICOM JSON", "Part 10", "list of frames", "search hit"}, set()),
    "pixels.datastore": ({"metadata", "DICOM JSON", "Part 10", "DICOMweb frame"}, set()),
}  # fmt: skip


def test_serves_nothing_of_somebody_else_by_any_way(stores: Stores, three: Three) -> None:
    ours = three.ours
    rows, reading = rows_of(stores, ours), Reading(stores, ours)
    wrong = []
    for name, pointing in POINTERS.items():
        for number, theirs in enumerate((three.foreign, three.other)):
            id = theirs.instances[0].frame_id()
            before = reading.everything(id)
            assert REFUSED not in before.values()
            change(stores, pointing(ours, record_of(stores, theirs)))
            after = reading.everything(id)
            refused = {way for way in after if after[way] == REFUSED}
            other = {way for way in after if after[way] != before[way]} - refused
            must = MUST_REFUSE.get(name, (set(), set()))[number]
            if not must <= refused or (number == 0 and _shows(after, theirs)):
                wrong.append((name, number, must - refused, other))
            put_back(stores, rows)
    assert not wrong


def _seal(stores: Stores, of: BuiltSet) -> None:
    """Encrypt what rows of a set hold of patients with the key of its data store, which is made."""
    ring = KeyRing(stores.db, lambda conn: LocalFileKeys([b"k" * 32], "a file"), always=True, keep=3600.0)
    stores.db.close()
    stores.db.carry(ring)
    record, block, dictionary = tables.record, tables.level_value, tables.dictionary

    def work(conn: Connection) -> None:
        ring.give_key(conn, of.datastore_key, Ids().key, NOW)
        cipher = values.sealer(conn, of.datastore_key)
        assert cipher is not None
        held = conn.execute(select(record).where(record.c.datastore == of.datastore_key)).all()
        for row in held:
            sealed = {
                column: cipher.seal(values.about(place, row.key), getattr(row, column) or compress(b"{}"))
                for column, place in (
                    ("fragment_z", values.FRAGMENT),
                    ("dicom_z", values.DICOM),
                    ("override_z", values.OVERRIDE),
                )
            }
            conn.execute(update(record).where(record.c.key == row.key).values(sealed))
        for key in {row.dictionary for row in held}:
            this = dictionary.c.key == key
            body = conn.execute(select(dictionary.c.bytes).where(this)).scalar_one()
            body = cipher.seal(values.about(values.DICTIONARY, key), body)
            conn.execute(update(dictionary).where(this).values(bytes=body))
        for row in conn.execute(select(block).where(block.c.datastore == of.datastore_key)).all():
            body = cipher.seal(values.about(values.LEVEL, row.key), row.body_z)
            changed = {"body_z": body, "hash": cipher.hash(row.hash)}
            conn.execute(update(block).where(block.c.key == row.key).values(changed))

    stores.db.write(work)


def test_opens_nothing_for_an_image_set_that_another_data_store_has_encrypted(
    stores: Stores, three: Three
) -> None:
    ours, theirs = three.ours, three.foreign
    with stores.db.read() as conn:
        of_theirs = select(tables.dictionary.c.bytes).join(
            tables.record, tables.record.c.dictionary == tables.dictionary.c.key
        )
        key = theirs.instances[0].pixels_key
        plain = bytes(conn.execute(of_theirs.where(tables.record.c.key == key)).scalar_one())
    _seal(stores, ours)
    _seal(stores, theirs)
    rows, reading = rows_of(stores, ours), Reading(stores, ours)
    before = reading.everything()
    assert REFUSED not in before.values() and before["metadata"]["Patient"]["DICOM"]["PatientID"] == "P1"
    # All rows say consistently that what is theirs is of our data store.
    for table in (tables.record, tables.pixels, tables.instance, tables.level_value, tables.pack):
        its = table.c.datastore == theirs.datastore_key
        change(stores, update(table).where(its).values(datastore=ours.datastore_key))
    row = record_of(stores, theirs)
    crafted = FragmentCompressor(plain).compress(plain)
    own = update(tables.record).where(tables.record.c.key == ours.instances[0].pixels_key)
    statements = {name: POINTERS[name](ours, row) for name in MUST_NOT_OPEN if name in POINTERS}
    # What nobody has sealed may refer to a dictionary, which is the beginning of somebody's attributes.
    statements["record.dictionary"] = own.values(
        fragment_z=crafted, dictionary=row.dictionary, dicom_z=crafted, dicom_dictionary=row.dictionary
    )
    for name, statement in statements.items():
        change(stores, statement)
        found = reading.everything()
        assert {way for way in found if found[way] == REFUSED} >= MUST_NOT_OPEN[name], name
        with stores.db.read() as conn:
            of_set = conn.execute(select(tables.image_set).where(tables.image_set.c.key == ours.key)).one()
            assert name == "record.dictionary" or integrity.faults_of_set(conn, of_set.key), name
        put_back(stores, rows)
    assert reading.everything() == before


MUST_NOT_OPEN = {
    "all of a member": {"metadata", "DICOM JSON", "Part 10"},
    "record.patient_value": {"metadata"},
    "level.base, patient": {"metadata", "DICOM JSON", "Part 10"},
    "record.dictionary": {"metadata", "DICOM JSON"},
}


def _shows(found: dict[str, Any], theirs: BuiltSet) -> set[str]:
    """The ways by which something of somebody else is shown."""
    signs = (theirs.instances[0].uid, "ROE^RICHARD", "P3", f"1.2.3.{theirs.key}", f"1.2.4.{theirs.key}")
    return {way for way, what in found.items() if any(f"{sign}'" in repr(what) for sign in signs)}


def test_tells_of_it_once(stores: Stores, three: Three) -> None:
    def header(datastore_id: str) -> EventHeader:
        return EventHeader(
            id="0" * 32, now=NOW, region="us-east-1", account="1" * 12, datastore_id=datastore_id
        )

    change(stores, POINTERS["member.record"](three.ours, record_of(stores, three.foreign)))
    with closing(DamageReports(stores.db, lambda: NOW, header)) as reports:
        errors.tell(reports.note_misplaced)
        reading = Reading(stores, three.ours)
        for _ in range(2):
            assert reading.everything()["metadata"] == REFUSED
    with stores.db.read() as conn:
        events = [json.loads(each) for each in conn.execute(select(tables.outbox.c.event)).scalars()]
    assert {event["detail-type"] for event in events} == {"Data Integrity Fault"}
    assert len(events) == len({event["detail"]["place"] for event in events})
    assert all(event["detail"]["imagesetIds"] == [three.ours.id] for event in events)
    assert all(three.ours.datastore_id in json.dumps(event) for event in events)
