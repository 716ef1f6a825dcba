from __future__ import annotations

from lightwell.observe.audit.note import MOST, AuditNote
from lightwell.observe.audit.record import AuditRecord, Change


def filled(note: AuditNote, status: int | None = None) -> AuditRecord:
    record = AuditRecord(status=status)
    note.fill(record)
    return record


def test_one_of_each_is_named_by_itself() -> None:
    note = AuditNote(store="d", version=3, job="j")
    note.saw("set", "P", "1.2", "1.2.3")
    note.saw("set", "P", "1.2", "1.2.3")
    assert filled(note) == AuditRecord(
        store="d", version=3, job="j", image_set="set", patient="P", study="1.2", series="1.2.3"
    )


def test_several_are_listed_in_the_order_in_which_they_were_seen() -> None:
    note = AuditNote()
    note.saw("b", "P2", "1.2", "1.2.3")
    note.saw("a", "P1", "1.2", "1.2.4")
    assert filled(note) == AuditRecord(image_sets=("b", "a"), patients=("P2", "P1"), study="1.2")


def test_what_is_not_there_is_no_member() -> None:
    note = AuditNote()
    note.saw("a", patient="", study=None)
    assert filled(note, status=200) == AuditRecord(image_set="a", status=200)


def test_every_patient_of_the_largest_page_is_named_and_what_is_beyond_is_counted() -> None:
    note = AuditNote()
    for number in range(MOST + 5):
        note.saw(patient=f"P{number}")
    note.saw(patient="P0")
    for number in range(MOST + 2):
        note.asked_for(f"frame{number}")
    record = filled(note)
    assert record.patients == tuple(f"P{number}" for number in range(MOST))
    assert record.items == tuple(f"frame{number}" for number in range(MOST))
    assert record.more == 7


def test_notes_are_each_their_own() -> None:
    first, second = AuditNote(), AuditNote()
    first.saw("a", "P", "s", "t")
    first.asked_for("f")
    first.changed("key/A", None, "12")
    assert filled(second) == AuditRecord()
    assert filled(first).change == (Change("key/A", None, "12"),)


def test_forgets_all_but_the_data_store() -> None:
    note = AuditNote(store="d", job="j", found=3)
    note.saw("a", "P", "s", "t")
    note.changed("key/A")
    note.clear()
    assert filled(note) == AuditRecord(store="d")


def test_overwrites_only_what_it_has_learned() -> None:
    note = AuditNote(found=0)
    record = AuditRecord(store="from the path", study="1.2", status=404)
    note.fill(record)
    assert record == AuditRecord(store="from the path", study="1.2", status=404, found=0)
