"""msgspec's types are finished at import, since two threads that use one first at once end the process."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.architecture.imports import Module, modules

# `wire.parse.READY` holds each type that it converts to; tests/unit/wire/test_threads.py sees to that.
MAY_CONVERT = {"wire.parse"}


def dotted(node: ast.expr) -> str:
    """``msgspec.json.decode``; empty for what is no name with dots."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def late_uses(module: Module) -> Iterator[tuple[int, str]]:
    """Where a function has msgspec read into a type that may not be finished."""
    functions = [n for n in ast.walk(module.tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    for function in functions:
        for node in ast.walk(function):
            if not isinstance(node, ast.Call) or not (called := dotted(node.func)).startswith("msgspec."):
                continue
            name = called.rpartition(".")[2]
            typed = len(node.args) > 1 or any(keyword.arg == "type" for keyword in node.keywords)
            if name == "convert" and module.name not in MAY_CONVERT:
                yield node.lineno, "msgspec.convert"
            elif name == "decode" and typed:
                yield node.lineno, "decode with a type: make a Decoder at the top of the module"
            elif name == "Decoder" and (node.args or node.keywords):
                yield node.lineno, "a Decoder in a function: make it at the top of the module"


def test_types_are_finished_before_there_are_threads() -> None:
    assert [f"{m.path}:{line}: {what}" for m in modules() for line, what in late_uses(m)] == []


def test_finds_a_type_that_is_used_late() -> None:
    code = """
import msgspec
def f(data):
    msgspec.convert(data, T)
    msgspec.json.decode(data, type=T)
    msgspec.msgpack.Decoder(T)
    msgspec.json.decode(data)
"""
    module = Module("somewhere", next(iter(modules())).path, ast.parse(code))
    assert [line for line, _ in late_uses(module)] == [4, 5, 6]
