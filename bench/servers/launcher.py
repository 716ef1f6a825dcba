"""Starts one command and adopts whatever it leaves behind; run as a file, never imported.

    python -S -E launcher.py FD COMMAND ...

The launcher is a child subreaper (prctl(2)), so every process that the command starts stays below it, and the
kernel adds the CPU time of each process that ends to the one that waited for it. The CPU time of the tree is
then a plain sum over the living: own time and that of waited-for children. Writes ``PID MONOTONIC`` of the
command to file descriptor FD. SIGTERM goes on to the command; a launcher whose parent dies stops it too.
"""

import ctypes
import os
import signal
import sys
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def main() -> None:
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    report, command = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(report, False)
    begun = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
    os.write(report, f"{pid} {begun}\n".encode())
    os.close(report)
    code = 1
    while True:
        try:
            gone, status = os.waitpid(-1, 0)
        except ChildProcessError:
            break
        if gone == pid:
            code = os.waitstatus_to_exitcode(status)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            _end_orphans()
    sys.exit(code if code >= 0 else 128 - code)


def _end_orphans() -> None:
    """What the command left running has no owner any more."""
    for entry in os.listdir("/proc"):  # noqa: PTH208 - pathlib would take longer to import than all of this
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:  # noqa: PTH123
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if parent == os.getpid():
            os.kill(int(entry), signal.SIGKILL)


main()
