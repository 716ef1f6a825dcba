"""Exceptions as text for logs: where and what, without the values that messages like to quote.

Python's own messages quote what could not be used ("invalid literal for int(): 'DOE^JANE'"), and so do the
details of a database ("Key (patient_id)=(4711) already exists"). Ours do not, and are kept as they are.
"""

from __future__ import annotations

import builtins
import re
import traceback
from collections.abc import Iterator

from lightwell.errors import LightwellError

_MOST_CHAINED = 8
_QUOTED = re.compile(r"""(?<!\w)(['"])(.*?)\1(?!\w)""", re.DOTALL)
# What a program calls something, and no person is called.
_IDENTIFIER = re.compile(r"[a-z0-9]*_[a-z0-9_]+|[a-z]+(\.[a-z_]+)+")
_WORDS = frozenset([*dir(builtins), "NoneType"])
_LONGEST = 1000
_CAUSE = "The above exception was the direct cause of the following exception:"
_CONTEXT = "During handling of the above exception, another exception occurred:"


def exception_lines(error: BaseException) -> Iterator[str]:
    """The exception with its tracebacks and what led to it, the first cause first."""
    chain = [error]
    while len(chain) < _MOST_CHAINED:
        before = chain[0].__cause__ or (None if chain[0].__suppress_context__ else chain[0].__context__)
        if before is None or before in chain:
            break
        chain.insert(0, before)
    for number, each in enumerate(chain):
        if number:
            yield _CAUSE if each.__cause__ is not None else _CONTEXT
        if each.__traceback__ is not None:
            yield "Traceback (most recent call last):"
            for frame in traceback.format_tb(each.__traceback__):
                yield from frame.rstrip("\n").split("\n")
        name = type(each).__qualname__
        module = type(each).__module__
        shown = name if module == "builtins" else f"{module}.{name}"
        yield f"{shown}: {message(each)}".removesuffix(": ")


def message(error: BaseException) -> str:
    """What an exception says, without what it quotes unless it is ours."""
    try:
        text = str(error)
    except Exception:
        return "(its message cannot be made)"
    if isinstance(error, LightwellError | OSError):
        return text[:_LONGEST]
    # A database says first what is wrong, and then with which values.
    first = text.partition("\nDETAIL:")[0].partition("\nCONTEXT:")[0].partition("\n[SQL:")[0]
    statement = getattr(error, "statement", None)
    shown = _QUOTED.sub(_masked, first)
    return (f"{shown} [SQL: {statement}]" if isinstance(statement, str) else shown)[:_LONGEST]


def _masked(found: re.Match[str]) -> str:
    quote, inner = found[1], found[2]
    if inner in _WORDS or _IDENTIFIER.fullmatch(inner):
        return found[0]
    return f"{quote}…{quote}"
