"""Counts, sizes, durations and tables as all commands write them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from lightwell.cli.wording import (
    _cut,
    counted,
    duration,
    moment,
    print_array,
    print_table,
    printable,
    size,
    table,
)


def test_it_counts_one_and_many() -> None:
    assert counted(1, "file") == "1 file"
    assert counted(0, "file") == "0 files"
    assert counted(1_234_567, "image set") == "1,234,567 image sets"
    assert counted(2, "study") == "2 studies"
    assert counted(2, "key") == "2 keys"
    assert counted(2, "series", "series") == "2 series"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (9_949, "9.9 kB"),
        (9_951, "10 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (1_234_567_890, "1.2 GB"),
        (12_300_000_000_000, "12 TB"),
        (5_000_000_000_000_000_000, "5,000.0 PB"),
    ],
)
def test_it_writes_sizes(number: int, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (7_500, "2 h 5 min"),
        (86_400, "1 day"),
        (86_400 * 2 + 3 * 3600 + 5, "2 days 3 h"),
        (3_605, "1 h"),
    ],
)
def test_it_writes_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_it_writes_times_in_utc() -> None:
    assert moment(0) == "1970-01-01T00:00:00Z"


def test_it_aligns_columns_by_what_a_terminal_shows() -> None:
    lines = list(
        table(
            ["NAME", "FILES", "PRIMARY"],
            [["山田", 1234, True], ["Å", None, False], ["", 7, None], ["a\x1b[2J", 0, True]],
        )
    )
    assert lines == [
        "NAME      FILES  PRIMARY",
        "山田      1,234  yes",
        "Å             -  no",
        "-             7  -",
        "a\\x1b[2J      0  yes",
    ]
    assert printable("a\nb") == "a\\nb"
    assert [_cut(line, 8) for line in ("12345678", "123456789", "山田山田山")] == [
        "12345678",
        "1234567…",
        "山田山…",
    ]


def test_it_prints_whole_lines_on_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["A", "B"], [["x" * 300, "y"]], nothing="none")
    assert capsys.readouterr().out == f"A{' ' * 300} B\n{'x' * 300}  y\n"
    print_table(["A"], [], nothing="There are no rows")
    assert capsys.readouterr() == ("", "There are no rows\n")


def test_it_prints_tables_and_arrays_of_any_length(capsys: pytest.CaptureFixture[str]) -> None:
    read = 0

    def rows() -> Iterator[tuple[str, int]]:
        nonlocal read
        for read in range(2000):
            yield "x" * (read // 500 + 1), read

    first = next(table(["A", "B"], rows()))
    assert (first, read) == ("A    B", 499)
    lines = list(table(["A", "B"], rows()))
    assert (lines[1], lines[2000]) == ("x    0", "xxxx  1,999")
    print_array([])
    assert json.loads(capsys.readouterr().out) == []
    print_array([{"a": 1}, {"é": [None]}])
    assert json.loads(capsys.readouterr().out) == [{"a": 1}, {"é": [None]}]
