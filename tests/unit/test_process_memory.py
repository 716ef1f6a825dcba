from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

# What each of eight threads allocates, all of them alive at once; then glibc tells of its arenas.
_SCRIPT = """
import ctypes, threading
from lightwell.process_memory import share_one_arena
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
if {shared}:
    share_one_arena()
together = threading.Barrier(9)
def allocate():
    together.wait()
    for _ in range(100):
        assert libc.malloc(10_000)
    together.wait()
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
together.wait()
together.wait()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
together.wait()
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="not glibc")
def test_threads_share_one_arena() -> None:
    arenas = {}
    for shared in (False, True):
        told = subprocess.run(
            [sys.executable, "-c", _SCRIPT.format(shared=shared)], check=True, capture_output=True, text=True
        )
        arenas[shared] = told.stdout.count("<heap nr=")
    assert arenas[True] == 1 < arenas[False]
