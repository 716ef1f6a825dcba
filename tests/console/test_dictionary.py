"""The DICOM dictionary that the console brings along."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_is_the_dictionary_of_the_server() -> None:
    tool = runpy.run_path(str(ROOT / "tools/console_dictionary.py"))
    assert tool["TARGET"].read_text() == tool["dictionary"](), "run tools/console_dictionary.py"
