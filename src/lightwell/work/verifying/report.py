"""What a run of `data verify` tells: what was checked, what is wrong, and whose studies that concerns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from lightwell.domain.integrity import Problem
from lightwell.stores.collector import integrity
from lightwell.stores.collector.integrity import ConcernedSet
from lightwell.stores.db.bulk import batches
from lightwell.stores.integrity.faults import Fault
from lightwell.stores.objects.pack_objects import pack_name

_MOST_SETS = 100  # of a pack


@dataclass(slots=True)
class Report:
    """What was checked, and everything that is wrong.

    ``pages`` are those of the database, ``strays`` packs that it does not know. ``frames`` were decoded.
    ``frames_checksummed`` had no checksum of their stored bytes and have one now, ``frames_without_checksum``
    still have none.
    """

    packs: int = 0
    instances: int = 0
    frames: int = 0
    image_sets: int = 0
    bytes: int = 0
    pages: int = 0
    documents: int = 0
    strays: int = 0
    frames_checksummed: int = 0
    frames_without_checksum: int = 0
    problems: list[Problem] = field(default_factory=list)


def named_problems(conn: Connection, faults: Sequence[Fault]) -> list[Problem]:
    """What is wrong, with the image sets, patients and studies that it concerns."""
    packs = sorted({fault.pack for fault in faults if fault.pack is not None})
    live = {key for some in batches(packs) for key in integrity.are_live(conn, some)}
    # What has been collected meanwhile is no fault.
    faults = [fault for fault in faults if fault.pack is None or fault.pack in live]
    of_packs = [fault.pack for fault in faults if fault.pack is not None and fault.record is None]
    records = integrity.records_in(conn, of_packs)
    keys = {fault.record for fault in faults if fault.record is not None}
    uids = integrity.uids(conn, keys)
    sets = integrity.sets_of(conn, keys | {key for held in records.values() for key in held})
    named = integrity.named(conn, {fault.image_set for fault in faults if fault.image_set is not None})
    problems: list[Problem] = []
    for fault in sorted(faults, key=lambda fault: (fault.pack or 0, fault.record or -1, fault.place)):
        pack = None if fault.pack is None else pack_name(fault.pack)
        plain = Problem(fault.reason, pack=pack, kind=fault.kind)
        if fault.record is not None:
            uid = uids.get(fault.record)
            problems += [_of(plain, one, uid) for one in sets.get(fault.record, [])]
        elif fault.image_set is not None:
            problems += [_of(plain, named[key]) for key in (fault.image_set,) if key in named]
        else:
            problems.append(_with_concerned(plain, records.get(fault.pack or 0, []), sets))
    return problems


def _of(problem: Problem, one: ConcernedSet, uid: str | None = None) -> Problem:
    return Problem(
        problem.reason,
        datastore_id=one.datastore_id,
        image_set_id=one.id,
        sop_instance_uid=uid,
        pack=problem.pack,
        kind=problem.kind,
        patient_id=one.patient_id,
        study_instance_uid=one.study_instance_uid,
    )


def _with_concerned(problem: Problem, records: Sequence[int], sets: dict[int, list[ConcernedSet]]) -> Problem:
    concerned = {one.id: one for key in records for one in sets.get(key, ())}
    return Problem(
        problem.reason,
        pack=problem.pack,
        kind=problem.kind,
        concerns=tuple(_places(list(concerned.values())[:_MOST_SETS])),
    )


def _places(concerned: Sequence[ConcernedSet]) -> Iterator[tuple[str, str, str | None, str | None]]:
    for one in concerned:
        yield one.datastore_id, one.id, one.patient_id, one.study_instance_uid
