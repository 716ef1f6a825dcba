"""What `lightwell import` finds in folders that hold more than files."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any, cast

from lightwell.work.imports.listing import list_sources

_NOTHING = cast(Any, None)  # neither buckets nor directories of zip files are asked


def test_it_does_not_wait_for_pipes_nor_open_devices(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"1234567")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    (tmp_path / "lost").symlink_to(tmp_path / "nothing")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(tmp_path / "socket"))  # an address may have 107 bytes
        found = list(list_sources(_NOTHING, json.dumps([str(tmp_path)]).encode(), _NOTHING))
    assert {Path(each.name).name: (each.size, each.location is None) for each in found} == {
        "a.dcm": (7, False),
        "link": (0, True),
        "lost": (0, True),
        "pipe": (0, True),
        "socket": (0, True),
    }
    refusals = {Path(each.name).name: each.refusal for each in found}
    kind = "is not a file but a pipe, socket or device"
    assert refusals["pipe"] == f"{tmp_path / 'pipe'} {kind}"
    assert refusals["link"] == f"{tmp_path / 'link'} {kind}"
    assert refusals["a.dcm"] is None and "cannot be read" in str(refusals["lost"])
