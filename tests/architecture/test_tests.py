"""Where tests and benchmarks lie: by the source that they are about, in folders of few files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.architecture.references import ROOT, SOURCE, python_files
from tests.architecture.test_imports import BAD_NAMES, MOST_FILES


@pytest.mark.parametrize(("tests", "source"), [("unit", SOURCE), ("stores", SOURCE / "stores")])
def test_folders_mirror_the_source(tests: str, source: Path) -> None:
    top = ROOT / "tests" / tests
    folders = {path.parent.relative_to(top) for path in python_files() if path.is_relative_to(top)}
    assert sorted(str(folder) for folder in folders if not (source / folder).is_dir()) == []


def test_folders_hold_few_files() -> None:
    files = Counter(path.parent for path in python_files() if path.name != "__init__.py")
    large = {str(folder.relative_to(ROOT)): count for folder, count in files.items() if count > MOST_FILES}
    assert {folder: count for folder, count in large.items() if not folder.startswith("src")} == {}


def test_files_are_named_after_what_they_hold() -> None:
    assert [str(path) for path in python_files() if path.stem.removeprefix("test_") in BAD_NAMES] == []
