"""What comments, docstrings and pages name in single backticks exists under that name.

Examples of code stand in double backticks in Python files, and are not looked at.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from tests.architecture import references
from tests.architecture.references import ROOT, Reference

PAGES = [
    ROOT / "ARCHITECTURE.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


def named(paths: Iterable[Path]) -> list[Reference]:
    return [reference for path in paths for reference in references.references(path)]


# Not at import, which every process of a run does: it reads all there is.
@cache
def in_code() -> list[Reference]:
    return named(references.python_files())


@cache
def in_pages() -> list[Reference]:
    return named(PAGES)


def parts(reference: Reference) -> list[str]:
    """Of ``stores.db.database``, from the top of the package; empty for what is no dotted name."""
    if "/" in reference.name or reference.name.endswith(".py") or "." not in reference.name:
        return []
    return reference.name.removeprefix("lightwell.").split(".")


def test_names_files_that_are_there() -> None:
    wrong = [
        ref for ref in in_code() + in_pages() if ref.name.endswith(".py") and not references.is_path(ref)
    ]
    assert list(map(str, wrong)) == []


def test_names_modules_and_what_they_define() -> None:
    wrong = [
        ref
        for ref in in_code() + in_pages()
        if (found := parts(ref)) and found[0] in references.rooms() and not references.resolves(found)
    ]
    assert list(map(str, wrong)) == []


def test_names_what_a_module_defines_by_its_short_name() -> None:
    """`unit_claims.claim` for `stores.jobs.unit_claims.claim`."""
    wrong = []
    for ref in in_code():
        found = parts(ref)
        if not found or found[0] in references.rooms():
            continue
        starts = references.starts(found[0])
        if starts and not any(references.resolves(found, start) for start in starts):
            wrong.append(str(ref))
    assert wrong == []


def test_names_classes_and_functions_that_are_defined() -> None:
    known = references.defined_anywhere() | set(dir(builtins))
    wrong = [str(ref) for ref in in_code() if ref.name.isidentifier() and ref.name not in known]
    assert wrong == []
