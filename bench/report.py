"""Writes the table of docs/performance.md from the kept results: ``python -m bench.report``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.results import BARS, Bar, Outcome
from bench.workspace import work_folder

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- table: written by python -m bench.report -->", "<!-- end of table -->"
_RUN = ("date", "commit")


def write(page: Path = PAGE) -> None:
    """Puts the table of all kept results between the markers of ``page``."""
    text = page.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(
            f"{page} has lost its markers: put a line {BEGIN!r} and a line {END!r} where the table goes"
        )
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    page.write_text(f"{head}{BEGIN}\n\n{table(results())}\n\n{END}{tail}")
    print(f"wrote {page}")


def results() -> list[dict[str, Any]]:
    """The kept record of each scenario that has bars, in the order in which they stand."""
    order = list(BARS)
    kept = [json.loads(path.read_text()) for path in sorted((work_folder() / "results").glob("*.json"))]
    records = [record for record in kept if record["outcomes"][0]["bar"] in BARS]
    return sorted(records, key=lambda record: order.index(record["outcomes"][0]["bar"]))


def table(records: list[dict[str, Any]]) -> str:
    """Markdown: one row a bar, then what each scenario ran on."""
    lines = [
        "| what | bar | aim | median (least..most) | verdict | from |",
        "|---|--:|--:|--:|---|---|",
    ]
    found = {outcome["bar"]: Outcome(**outcome) for record in records for outcome in record["outcomes"]}
    lines += [_row(BARS[key], found[key]) for key in BARS if key in found]
    missing = [key for key in BARS if key not in found]
    if missing:
        lines += ["", f"Not measured yet: {', '.join(missing)}."]
    runs: dict[str, list[str]] = {}
    for record in records:
        facts = dict(record["facts"])
        when, commit = (facts.pop(key) for key in _RUN)
        words = ", ".join(f"{key} {value}" for key, value in facts.items())
        how = f"`{record['command']}`, {record['options']['rounds']} rounds, on {when} at commit {commit}"
        runs.setdefault(f"{how}; {words}", []).append(record["scenario"])
    if runs:
        lines += ["", *(f"- {', '.join(names)}: {words}." for words, names in runs.items())]
    return "\n".join(lines)


def _row(bar: Bar, outcome: Outcome) -> str:
    sign = "≥" if bar.least else "≤"
    limits = f"{sign} {_number(bar.bar)} {bar.unit} | {sign} {_number(bar.aim)} {bar.unit}"
    if outcome.skipped or not outcome.values:
        return f"| {bar.what} | {limits} | – | skipped: {outcome.skipped or 'no round was complete'} | |"
    low, high = min(outcome.values), max(outcome.values)
    digits = 0 if bar.unit == "MiB" else 2
    value = f"{outcome.median:.{digits}f} {bar.unit}"
    if len(outcome.values) > 1:
        value += f" ({low:.{digits}f}..{high:.{digits}f})"
    return f"| {bar.what} | {limits} | {value} | {bar.verdict(outcome.median)} | {outcome.detail} |"


def _number(value: float) -> str:
    return f"{value:g}"


if __name__ == "__main__":
    write()
