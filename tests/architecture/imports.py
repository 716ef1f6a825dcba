"""Reads what each module of lightwell imports, without importing it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "lightwell"


@dataclass(frozen=True, slots=True)
class Module:
    """One file. ``name`` is relative: ``stores.objects.packs``, ``app``; ``""`` is the package itself."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def room(self) -> str:
        """The first part of its name: a folder, or a module at the top."""
        return self.name.partition(".")[0]

    def imports(self) -> Iterator[tuple[str, int]]:
        """Full names of what it imports when it runs, inside functions too, with the line.

        ``from a import b`` gives ``a.b`` where that is a module of lightwell, else ``a``.
        """
        for node in _imports(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name, node.lineno
            else:
                assert node.level == 0 and node.module, f"{self.path}:{node.lineno}: relative import"
                for alias in node.names:
                    name = f"{node.module}.{alias.name}"
                    yield (name if is_module(name) else node.module), node.lineno

    def inside(self, *, late: bool = True) -> Iterator[tuple[str, int]]:
        """What it imports of lightwell, by relative name; without ``late`` only what it imports at once."""
        at_once = {node.lineno for node in _at_once(self.tree)}
        for name, line in self.imports():
            if not late and line not in at_once:
                continue
            if name == "lightwell" or name.startswith("lightwell."):
                yield name.removeprefix("lightwell").removeprefix("."), line

    def outside(self) -> Iterator[tuple[str, int]]:
        """The packages that it imports of others, the standard library too.

        A connection that is handed on is no SQL, so SQLAlchemy's `Connection` alone does not count.
        """
        for node in _imports(self.tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif [a.name for a in node.names] != ["Connection"]:
                names = [node.module or ""]
            else:
                continue
            for name in names:
                if name.partition(".")[0] not in ("lightwell", "__future__"):
                    yield name.partition(".")[0], node.lineno


# Several tests ask for them, of trees of many nodes.
@cache
def _imports(tree: ast.Module) -> tuple[ast.Import | ast.ImportFrom, ...]:
    return tuple(node for node in _run_time(tree) if isinstance(node, ast.Import | ast.ImportFrom))


def _run_time(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if (
            isinstance(child, ast.If)
            and isinstance(child.test, ast.Name)
            and child.test.id == "TYPE_CHECKING"
        ):
            for other in child.orelse:
                yield other
                yield from _run_time(other)
            continue
        yield child
        yield from _run_time(child)


def _at_once(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that run when the module is imported."""
    return (node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom))


@cache
def is_module(name: str) -> bool:
    """Whether ``lightwell.…`` names a file or a folder of the package."""
    parts = name.split(".")
    if parts[0] != "lightwell":
        return False
    place = SOURCE.joinpath(*parts[1:])
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


@cache
def modules() -> tuple[Module, ...]:
    """Every module, but for the migrations, which are scripts of Alembic's."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if "migrations" in parts:
            continue
        if parts[-1] == "__init__":
            parts = parts[:-1]
        found.append(Module(".".join(parts), path, ast.parse(path.read_text("utf-8"), str(path))))
    return tuple(found)
