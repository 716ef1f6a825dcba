"""What follows from a failure, as the table has it."""

from __future__ import annotations

from typing import get_args

import pytest

from lightwell.codec_pool.failures import (
    CHUNK,
    DIRECT,
    EXCEPTIONS,
    INSPECTION,
    PHASE,
    STORE,
    Cause,
    cause_of,
    reason_of,
)
from lightwell.codec_pool.requests import RequestErrorKind
from lightwell.domain.imports.jobs import FORGED, NO_FILE, STORAGE
from lightwell.errors import DamagedError, InputError, ServerFault, StorageError, StorageUnavailableError

WORKER_ENDS = {Cause.NOT_STARTED, Cause.DIED, Cause.TIMED_OUT, Cause.DIED_BETWEEN_FILES, Cause.FORGED}
RAISED = {Cause.UNAVAILABLE, Cause.STORAGE, Cause.INPUT, Cause.MEMORY, Cause.FAULT}


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (StorageUnavailableError("x"), Cause.UNAVAILABLE),
        (StorageError("x"), Cause.STORAGE),
        (DamagedError("x"), Cause.STORAGE),
        (InputError("x"), Cause.INPUT),
        (ServerFault("x"), Cause.INPUT),
        (MemoryError(), Cause.MEMORY),
        (ZeroDivisionError("x"), Cause.FAULT),
    ],
)
def test_knows_the_cause_of_every_exception(error: BaseException, cause: Cause) -> None:
    assert cause_of(error) is cause


def test_has_an_answer_to_whatever_may_happen() -> None:
    assert set(CHUNK) >= WORKER_ENDS | RAISED | {Cause.FAULT_BETWEEN_FILES}
    assert set(INSPECTION) >= WORKER_ENDS | RAISED
    assert set(DIRECT) >= WORKER_ENDS | RAISED
    # What is wrong with one file of an upload its worker says of that file, by `CHUNK`.
    assert set(STORE) >= WORKER_ENDS | (RAISED - {Cause.INPUT, Cause.MEMORY}) | {Cause.FAULT_BETWEEN_FILES}
    assert set(PHASE) >= RAISED
    assert set(EXCEPTIONS) == set(get_args(RequestErrorKind))


@pytest.mark.parametrize("table", [CHUNK, INSPECTION, PHASE])
def test_pauses_jobs_for_what_is_unavailable_and_for_nothing_else(table: object) -> None:
    assert isinstance(table, dict)
    pausing = {cause for cause, consequence in table.items() if consequence.tries is None}
    assert pausing == {Cause.NOT_STARTED, Cause.UNAVAILABLE} & set(table)
    assert not any(table[cause].is_final(1000) for cause in pausing)


def test_counts_failures_of_a_chunk_where_the_rows_have_them() -> None:
    assert {c.counter for c in CHUNK.values() if c.blames == "chunk"} == {NO_FILE, STORAGE, FORGED}
    assert all(c.counter is None for c in CHUNK.values() if c.blames != "chunk")
    died = CHUNK[Cause.DIED]
    assert not died.is_final(1) and died.is_final(2)
    assert died.text("SIGKILL") == "Reading this file ended its codec worker 2 times: SIGKILL"


def test_fills_in_what_a_message_names() -> None:
    assert "100 bytes" in DIRECT[Cause.MEMORY].error(reason_of(MemoryError(), 100)).message
    assert "x.zip" in INSPECTION[Cause.DIED].text("{braces}", "x.zip")
    assert "{braces}" in INSPECTION[Cause.DIED].text("{braces}", "x.zip")
    assert reason_of(MemoryError()) == "MemoryError" and reason_of(InputError("why")) == "why"
