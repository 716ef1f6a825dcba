"""What comments, docstrings and pages name in backticks, and whether there is such a thing."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "lightwell"
FOLDERS = ("src", "tests", "bench", "tools")
NAME = re.compile(r"(?<!`)`([A-Za-z_][\w./]*)(?:\(\))?`(?!`)")
_COMMENTED = re.compile(r"#.*`")
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


class Reference(NamedTuple):
    """``name`` as it stands between single backticks."""

    path: Path
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.name}"


def references(path: Path) -> Iterator[Reference]:
    """Of a Python file those in its comments and docstrings; of a page those outside of its code blocks."""
    for line, text in _page(path) if path.suffix == ".md" else _prose(path):
        for match in NAME.finditer(text):
            yield Reference(path, line + text.count("\n", 0, match.start()), match[1])


def _page(path: Path) -> Iterator[tuple[int, str]]:
    yield 1, _FENCED.sub(lambda block: "\n" * block[0].count("\n"), path.read_text("utf-8"))


def _prose(path: Path) -> Iterable[tuple[int, str]]:
    return _facts(path).prose


def is_path(reference: Reference) -> bool:
    """Whether a name that ends in .py is a file, from the root, the package or where it is named."""
    starts = (ROOT, SOURCE, reference.path.parent)
    if any((start / reference.name).is_file() for start in starts):
        return True
    return "/" not in reference.name and any(path.name == reference.name for path in python_files())


@cache
def python_files() -> tuple[Path, ...]:
    return tuple(sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")))


def defined_in(path: Path) -> frozenset[str]:
    """All that a file defines, assigns or imports, at whatever depth, parameters too."""
    return _facts(path).defined


class _Facts(NamedTuple):
    """Comments and docstrings with their lines, where any of a file names something; what it defines."""

    prose: tuple[tuple[int, str], ...]
    defined: frozenset[str]


# What is read of a file once, since all files are many millions of nodes.
@cache
def _facts(path: Path) -> _Facts:
    source = path.read_text("utf-8")
    prose, found = [], set[str]()
    names_something = "`" in source
    if _COMMENTED.search(source):
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                prose.append((token.start[0], token.string))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).rpartition(".")[2])
        elif (
            names_something
            and isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            prose.append((node.lineno, node.value.value))
    return _Facts(tuple(prose), frozenset(found))


@cache
def defined_anywhere() -> frozenset[str]:
    return frozenset().union(*map(defined_in, python_files()), (path.stem for path in python_files()))


@cache
def rooms() -> frozenset[str]:
    """The folders and modules at the top of the package."""
    return frozenset(path.stem for path in SOURCE.iterdir() if not path.name.startswith(("_", ".")))


@cache
def starts(name: str) -> list[Path]:
    """The folders that hold a module or folder of this name, wherever they lie in the package."""
    found = {path.parent for path in python_files() if path.stem == name}
    found |= {path.parent.parent for path in python_files() if path.match(f"{name}/__init__.py")}
    return sorted(path for path in found if path.is_relative_to(SOURCE))


def resolves(parts: list[str], start: Path = SOURCE) -> bool:
    """Whether folders, a module and what that defines lead through ``parts`` from the folder ``start``."""
    here = start
    for number, part in enumerate(parts):
        if (here / part / "__init__.py").is_file():
            here /= part
            continue
        module = here / f"{part}.py"
        rest = parts[number + 1 :] if module.is_file() else parts[number:]
        return defined_in(module if module.is_file() else here / "__init__.py").issuperset(rest)
    return True
