"""Migrations follow each other, one by one: two that were written side by side must not both be the next."""

from __future__ import annotations

import re
from pathlib import Path

from lightwell.stores.db.migrations import versions
from lightwell.stores.db.schema import REVISIONS

NAME = re.compile(r'^(revision|down_revision) = (?:"(\d{4})"|None)$', re.MULTILINE)


def test_each_follows_the_one_before() -> None:
    found = []
    for path in sorted(Path(versions.__file__).parent.glob("r*.py")):
        said = dict(NAME.findall(path.read_text()))
        assert path.name.startswith(f"r{said['revision']}_"), path.name
        found.append((said["revision"], said["down_revision"]))
    assert found == list(zip(REVISIONS, ("", *REVISIONS), strict=False))
