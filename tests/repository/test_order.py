"""Which tests a run begins with: the longest, in each of its processes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests import conftest


class Item:
    """What `tests/conftest.py` looks at of a test."""

    def __init__(self, file: str, *marks: str) -> None:
        self.path = Path(conftest.__file__).parent / file
        self.marks = list(marks)
        self.obj = SimpleNamespace(pytestmark=[SimpleNamespace(name=name) for name in marks])

    def get_closest_marker(self, name: str) -> str | None:
        return name if name in self.marks else None

    def add_marker(self, mark: pytest.MarkDecorator) -> None:
        self.marks.append(mark.name)


def ordered(items: Sequence[Item], processes: int, *, without: str = "endurance") -> list[list[Item]]:
    """What each process is given that pytest-xdist starts; tests with the mark ``without`` are not run."""
    left: list[Any] = list(items)
    config = cast(pytest.Config, SimpleNamespace(workerinput={"workercount": processes}))
    around = conftest.pytest_collection_modifyitems(config, left)
    next(around)
    left[:] = [item for item in left if without not in item.marks]  # which `-m` does
    assert next(around, None) is None
    bounds = [len(left) * number // processes for number in range(processes + 1)]
    return [left[begin:end] for begin, end in pairwise(bounds)]


def test_every_process_begins_with_some_of_the_longest() -> None:
    several = [Item(f"api/test_{n}.py") for n in range(500)]
    long = [Item(f"{folder}/test_x.py", "slow") for folder in ("lifecycle", "many", "faults", "stores")]
    # None of these counts for how many each of them gets.
    left_out = [Item("faults/test_x.py", "slow", "endurance") for _ in range(90)]
    parts = ordered([*several, *left_out, *long], 4)
    assert {part[0].path.parent.name for part in parts} == {"lifecycle", "many", "faults", "stores"}
    assert sum(map(len, parts)) == 504


def test_the_files_that_take_longest_are_there_and_marked() -> None:
    folder = Path(conftest.__file__).parent
    for where, names in conftest.LONG.items():
        for name in names:
            assert (folder / where / f"test_{name}.py").is_file(), f"{where}/test_{name}.py"
    (part,) = ordered([Item("unit/test_any.py"), Item("lifecycle/test_model.py")], 1)
    assert [item.path.name for item in part] == ["test_model.py", "test_any.py"]
    assert ordered(part, 1, without="long") == [[part[1]]]
