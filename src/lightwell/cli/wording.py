"""How commands write counts, sizes, durations, times and tables, so that all of them write them alike."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain, islice

_SIZES = ("kB", "MB", "GB", "TB", "PB")
_NOTHING = "-"
_BATCH = 500  # rows of a table whose widths are found together


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number and what it counts: ``1 file``, ``1,234 files``; ``plural`` unless it is the noun plus s."""
    if abs(number) == 1:
        return f"{number} {noun}"
    if plural is None:
        plural = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s"
    return f"{number:,} {plural}"


def nobody_works(jobs: int) -> str:
    """What to say where import jobs are open and no process works on any."""
    verb = "waits" if jobs == 1 else "wait"
    return f"{counted(jobs, 'import job')} {verb}, but nobody works: start `lightwell worker` somewhere"


def size(number: int) -> str:
    """A number of bytes, in powers of 1000: ``1 byte``, ``999 bytes``, ``1.2 GB``, ``12 GB``."""
    if number < 1000:
        return counted(number, "byte")
    value = number / 1000
    for unit in _SIZES[:-1]:
        # 999.5 would be shown as 1000.
        if value < 999.5:
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:,.1f} {_SIZES[-1]}"


def duration(seconds: float) -> str:
    """A length of time in its two greatest units: ``4 s``, ``3 min 20 s``, ``2 h 5 min``, ``1 day 3 h``."""
    whole = round(seconds)
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [
        (days, counted(days, "day")),
        (hours, f"{hours} h"),
        (minutes, f"{minutes} min"),
        (rest, f"{rest} s"),
    ]
    first = next((place for place, (number, _) in enumerate(parts) if number), len(parts) - 1)
    shown = [text for place, (number, text) in enumerate(parts[first : first + 2]) if number or not place]
    return " ".join(shown)


def moment(milliseconds: int | float) -> str:
    """A time since the epoch, in UTC to the second: ``2026-11-30T06:16:08Z``."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def printable(text: str) -> str:
    """Escape control characters: values come from files and must not control the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """The lines of a table with aligned columns: numbers to the right, None and "" as ``-``.

    A heading that is longer than its column counts as well. No line ends in spaces. Rows are read in
    batches, so that a table of any length needs little memory; from one batch to the next columns only grow.
    """
    left, widths = iter(rows), [_width(heading) for heading in headings]
    lines: list[list[str]] = [list(headings)]
    is_right = [False] * len(headings)
    is_first = True
    while (given := list(islice(left, _BATCH))) or is_first:
        if is_first:
            is_right = [
                {type(row[place]) for row in given} - {type(None)} == {int} for place in range(len(headings))
            ]
        lines += [[_cell(value) for value in row] for row in given]
        widths = [
            max(width, *map(_width, column))
            for width, column in zip(widths, zip(*lines, strict=True), strict=True)
        ]
        for line in lines:
            yield "  ".join(
                " " * (width - _width(cell)) + cell if right else cell + " " * (width - _width(cell))
                for cell, width, right in zip(line, widths, is_right, strict=True)
            ).rstrip()
        lines, is_first = [], False


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, nothing: str) -> None:
    """Print a table, or to stderr the sentence ``nothing`` if it has no rows.

    On a terminal, lines end at its edge instead of running on to the next line; on a pipe they are complete.
    """
    left = iter(rows)
    first = next(left, None)
    if first is None:
        print(nothing, file=sys.stderr)
        return
    width = os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else 0
    for line in table(headings, chain([first], left)):
        print(_cut(line, width) if width else line)


def print_array(items: Iterable[object]) -> None:
    """Print a JSON array, item by item, so that one of any length is printed in bounded memory."""
    mark = "["
    for item in items:
        print(f"{mark}\n{textwrap.indent(json.dumps(item, indent=2, ensure_ascii=False), '  ')}", end="")
        mark = ","
    print("[]" if mark == "[" else "\n]")


def _cell(value: object) -> str:
    if value is None or value == "":
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return printable(str(value))


def _width(text: str) -> int:
    """How many columns a terminal needs for it."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def _cut(line: str, width: int) -> str:
    if _width(line) <= width:
        return line
    kept = line[: width - 1]
    while _width(kept) > width - 1:
        kept = kept[:-1]
    return f"{kept}…"
