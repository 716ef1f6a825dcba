"""For tests of missing permissions, which do not affect root."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def public_folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="lightwell-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def nobody_may_run_python() -> bool:
    """Whether every user may enter the folders of this Python; one below root's home keeps others out."""
    places = {Path(place).resolve() for place in (sys.prefix, sys.base_prefix)}
    return all(folder.stat().st_mode & stat.S_IXOTH for place in places for folder in (place, *place.parents))


def become_nobody() -> None:
    """Give up root for good; call it in a process made for that. Nothing happens for any other user."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
