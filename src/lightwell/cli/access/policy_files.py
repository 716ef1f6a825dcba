"""Policies in files given on the command line: read and validated, with warnings printed to stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from lightwell.auth.policies.validation import ValidatedPolicy, check_identity_policy, check_trust_policy
from lightwell.cli.file_advice import advice
from lightwell.errors import ConfigurationError

_MOST_BYTES = 1 << 20


def read_policies(files: Iterable[Path]) -> list[str]:
    """The identity policies in these files. Raises `ConfigurationError` naming the file and the problem."""
    return [_checked(file, check_identity_policy) for file in files]


def read_trust_policy(file: Path) -> str:
    """The trust policy in this file. Raises `ConfigurationError`."""
    return _checked(file, check_trust_policy)


def _checked(file: Path, check: Callable[[str], ValidatedPolicy]) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(_MOST_BYTES)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}; {advice(error)}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file} is not UTF-8 text: save it as UTF-8") from None
    try:
        checked = check(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from None
    for warning in checked.warnings:
        print(f"lightwell: {file}: {warning}", file=sys.stderr)
    return checked.text
