"""What gets into logs from outside: neither lines that nobody wrote, nor patients."""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import Any

import psycopg
import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st

from lightwell.errors import StorageError
from lightwell.observe import logs
from lightwell.observe.exception_text import exception_lines, message
from tests.support import services
from tests.unit.observe.test_observe import stream

__all__ = ["stream"]

PATIENT = "DOE^JANE"
FORGED = "2026-12-01T00:00:00.000Z error   request caller=root"


def logged(form: str, text: str, error: Exception, out: io.StringIO) -> list[str]:
    """The lines that an event and an exception with this text make; a line ends at \\n only."""
    logs.configure("info", form, out)
    log = logging.getLogger("lightwell.test")
    logs.event(log, logging.INFO, "said", text=text)
    try:
        try:
            raise KeyError(text)
        except KeyError:
            raise error from None
    except Exception:
        log.exception("failed: %s", text)
    found = out.getvalue().splitlines()
    assert found == out.getvalue().rstrip("\n").split("\n"), "something else ends a line, too"
    return found


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x85", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_writes_no_line_that_a_stranger_made_up(stream: io.StringIO, form: str, end: str) -> None:
    text = f"harmless{end}{FORGED}"
    lines = logged(form, text, StorageError(text), stream)
    assert not [line for line in lines if line.startswith("2026-12-01T00:00:00.000Z")]
    if form == "json":
        said, failed = map(json.loads, lines)
        assert said["text"] == text and text in failed["exception"]


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_writes_printable_characters_only(text: str) -> None:
    """No control characters, C1 among them, which terminals obey; no marks that turn text around."""
    for form in ("text", "json"):
        out = io.StringIO()
        handlers = logging.getLogger().handlers[:]
        try:
            lines = logged(form, text, StorageError(text), out)
        finally:
            logging.getLogger().handlers[:] = handlers
        assert all(line.isprintable() for line in lines)
        assert form == "text" or all(line.isascii() for line in lines)


def lines_of(error: BaseException) -> str:
    return "\n".join(exception_lines(error))


def raised(call: Any, *arguments: Any) -> BaseException:
    try:
        call(*arguments)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    "error",
    [
        raised(int, PATIENT),
        raised(float, f'{PATIENT}\'s "other" name'),
        raised({}.__getitem__, PATIENT),
        raised(getattr, object(), PATIENT),
        KeyError({"PatientName": PATIENT}),
        ValueError(f"bad value {PATIENT!r}", PATIENT),
    ],
    ids=repr,
)
def test_quotes_no_value_that_python_quotes(error: BaseException) -> None:
    assert PATIENT in str(error)
    assert "DOE" not in lines_of(error) and "JANE" not in lines_of(error)


def test_keeps_what_says_where_the_fault_is() -> None:
    def fail() -> None:
        try:
            None.upper()  # type: ignore[attr-defined]
        except AttributeError as error:
            raise StorageError("the disk is full: make room") from error

    text = lines_of(raised(fail))
    assert "AttributeError: 'NoneType' object has no attribute" in text
    assert (
        text.index("AttributeError")
        < text.index("direct cause")
        < text.index("StorageError: the disk is full")
    )
    assert "in fail" in text and __file__ in text
    assert message(KeyError("image_set")) == "'image_set'"


def test_ends_where_exceptions_go_round_in_circles() -> None:
    one, two = ValueError("1"), ValueError("2")
    one.__cause__, two.__cause__ = two, one
    assert lines_of(one).count("ValueError") == 2


def test_leaves_out_which_values_a_database_names(postgres_server: Any) -> None:
    with services.new_database(postgres_server) as url:
        engine = sqlalchemy.create_engine(
            url.replace("postgresql://", "postgresql+psycopg://"), hide_parameters=True
        )
        with engine.begin() as conn:
            conn.exec_driver_sql("CREATE TABLE patient (id text PRIMARY KEY)")
        insert = sqlalchemy.text("INSERT INTO patient VALUES (:id)")
        value = f"{PATIENT}\nCONTEXT: more of {PATIENT}\n[SQL: nor this {PATIENT}]"

        def twice() -> None:
            with engine.begin() as conn:
                conn.execute(insert, {"id": value})
                conn.execute(insert, {"id": value})

        error = raised(twice)
        engine.dispose()
    assert isinstance(error, sqlalchemy.exc.IntegrityError)
    assert PATIENT in str(error) and isinstance(error.orig, psycopg.errors.UniqueViolation)
    shown = lines_of(error)
    assert "DOE" not in shown and "JANE" not in shown
    assert "duplicate key value violates unique constraint" in shown and "INSERT INTO patient" in shown


def test_is_what_the_log_is_made_with(stream: io.StringIO) -> None:
    for form in ("text", "json"):
        logs.configure("info", form, stream)
        try:
            int(PATIENT)
        except ValueError:
            logging.getLogger("lightwell.test").exception("failed")
    assert "invalid literal for int()" in stream.getvalue()
    assert PATIENT not in stream.getvalue()
    assert sys.exc_info() == (None, None, None)
