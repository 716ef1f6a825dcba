"""Paths of the real DICOM files for tests; they are not part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("LIGHTWELL_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")

needs_shared = pytest.mark.skipif(
    not (SHARED / "README.md").exists(),
    reason="no real DICOM files: set LIGHTWELL_TEST_DATA to a folder that holds them",
)
