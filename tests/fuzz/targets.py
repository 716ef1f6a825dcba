"""All fuzz targets, by name."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.files import FILES
from tests.fuzz.requests import REQUESTS
from tests.fuzz.target import Target
from tests.fuzz.trust import TRUST

TARGETS: dict[str, Target] = {**FILES, **REQUESTS, **TRUST}
CORPORA = Path(__file__).parent / "corpora"
"""A folder for each target: inputs that reach code which no other does, and each that has once failed."""


def inputs(name: str) -> list[bytes]:
    """The seeds of a target and what is kept of former runs."""
    return [*TARGETS[name].seeds(), *(path.read_bytes() for path in sorted((CORPORA / name).glob("*")))]
