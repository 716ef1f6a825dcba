"""For tests of missing rights, which root does not feel."""

from __future__ import annotations

import os
import pwd


def become_nobody() -> None:
    """Give up root for good; call it in a process made for that. Nothing happens for any other user."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
