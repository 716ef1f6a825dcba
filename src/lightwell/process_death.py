"""A process that ends when its parent does, however the parent ends. Standard library only."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

REFUSED = 78
"""The exit code (EX_CONFIG in sysexits.h) of a process that was refused: do not start it again."""

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process the signal ``number`` when its parent ends (prctl(2)).

    ``parent`` is the process id of who started it: if that has ended already, this process ends here and now.
    Linux also sends the signal when the *thread* that started it ends. Elsewhere than on Linux an orphan ends
    once it finds the other end of its socket closed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
