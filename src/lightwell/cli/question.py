"""Asking before something is done that cannot be undone."""

from __future__ import annotations

import sys

from lightwell.errors import ConfigurationError


def is_interactive() -> bool:
    """Whether there is someone who sees a question and can answer it."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def agreed(question: str, *, is_sure: bool) -> bool:
    """Whether to go on: ``is_sure`` (``--yes``), or the answer to the question.

    Raises `ConfigurationError` where nobody can be asked.
    """
    if is_sure:
        return True
    if not is_interactive():
        raise ConfigurationError(f"{question} Nobody can be asked here: add --yes to go ahead")
    return ask(f"{question} [y/N] ").lower() in ("y", "yes")


def ask(prompt: str) -> str:
    """The answer, without spaces around it; nothing at the end of the input."""
    print(prompt, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()
