"""The threat model names for each threat what remains of it, and a test that there is."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/security.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if re.match(r"\| T\d+ \|", line)
]


@cache
def functions(file: Path) -> frozenset[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_names_what_stops_a_threat_and_a_test_of_it(row: list[str]) -> None:
    number, threat, measure, remains, named = row
    assert threat and measure and remains, f"{number} leaves something open: write – for nothing"
    tests = re.findall(r"`([\w/]+\.py)::(test_\w+)`", named)
    assert tests and re.sub(r"`[^`]+`|,\s*", "", named) == "", f"{number} names no test, or something else"
    for path, name in tests:
        file = ROOT / "tests" / path
        assert file.is_file(), f"{number}: {path} is not there"
        assert name in functions(file), f"{number}: {path} has no {name}"


def test_numbers_threats_in_their_order() -> None:
    assert [row[0] for row in ROWS] == [f"T{number}" for number in range(1, len(ROWS) + 1)]
    assert len(ROWS) >= 40
