"""Started by `tests.imports.codec_pool.test_sandbox`: gives up what a codec worker gives up, and tries to do
more.

Arguments: a folder to read, one to write to, one of neither.
Prints one JSON object: what each attempt came to, an errno by name, or "done".
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from lightwell.codec_pool.sandbox import confinement

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, PR_SET_NAME, KEYCTL, TIOCSTI = 16, 15, {"x86_64": 250, "aarch64": 219}, 0x5412
PERSONALITY, UNSHARE, CLONE_NEWUSER = {"x86_64": 135, "aarch64": 92}, 0, 0x10000000


def call(name: str, *arguments: object) -> Callable[[], None]:
    def done() -> None:
        if getattr(LIBC, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), name)

    return done


def connect(family: int, address: str | tuple[str, int]) -> None:
    with socket.socket(family) as made:
        made.connect(address)


def calls_of_32_bits() -> None:
    """getpid by ``int 0x80``, whose number 20 is writev for 64 bits."""
    code = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"  # mov eax, 20; int 0x80; ret
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    place = ctypes.addressof(ctypes.c_char.from_buffer(page))
    answer = ctypes.CFUNCTYPE(ctypes.c_int)(place)()
    if answer < 0:
        raise OSError(-answer, "int 0x80")


def calls_of_x32() -> None:
    if LIBC.syscall(ctypes.c_long(0x40000000 + 39)) < 0:
        raise OSError(ctypes.get_errno(), "x32")


def in_a_thread() -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(1))
    thread.start()
    thread.join()
    assert found


def packed(folder: Path) -> None:
    """As a pack comes to be: written, flushed, and moved into another folder."""
    made = folder / ".tmp" / "x"
    made.parent.mkdir(exist_ok=True)
    made.write_bytes(b"x")
    (folder / "packs" / "00").mkdir(parents=True, exist_ok=True)
    made.rename(folder / "packs" / "00" / "x")
    place = os.open(folder / "packs" / "00", os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(place)
    os.close(place)


def main(reading: str, writing: str, other: str) -> None:
    before = (Path(other) / "file").open("rb")
    missing = confinement.confine([reading], [writing])
    machine = platform.machine()
    tries: dict[str, Callable[[], object]] = {
        "connect": lambda: connect(socket.AF_INET, ("127.0.0.1", 9)),
        "connect to a socket of the machine": lambda: connect(socket.AF_UNIX, "/nowhere"),
        "a packet socket": lambda: socket.socket(17, socket.SOCK_RAW),
        "listen": lambda: socket.create_server(("127.0.0.1", 0)),
        "a pair of sockets": socket.socketpair,
        "exec": lambda: os.execv(sys.executable, [sys.executable, "-c", ""]),
        "start a program": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
        "fork": os.fork,
        "a thread": in_a_thread,
        "ptrace": call("ptrace", PTRACE_ATTACH, os.getppid(), None, None),
        "signal the parent": lambda: os.kill(os.getppid(), 0),
        "signal itself": lambda: os.kill(os.getpid(), 0),
        "open a process": lambda: os.pidfd_open(os.getppid()),
        "limits of the parent": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE),
        "limits of its own": lambda: resource.prlimit(0, resource.RLIMIT_NOFILE),
        "keys": lambda: call("syscall", ctypes.c_long(KEYCTL[machine]), 0, -3, 0)(),
        "another personality": lambda: call("syscall", ctypes.c_long(PERSONALITY[machine]), 0x0040000)(),
        "a user namespace": call("unshare", CLONE_NEWUSER),
        "mount": call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
        "type into the terminal": call("ioctl", 0, TIOCSTI, b"x"),
        "read the input": lambda: (Path(reading) / "file").read_bytes(),
        "list the input": lambda: list(Path(reading).iterdir()),
        "write to the input": lambda: (Path(reading) / "new").write_bytes(b"x"),
        "make a pack": lambda: packed(Path(writing)),
        "remove a file": lambda: (Path(writing) / "packs" / "00" / "x").unlink(),
        "read another file": lambda: (Path(other) / "file").read_bytes(),
        "read by a link": lambda: (Path(reading) / "link").read_bytes(),
        "list another folder": lambda: list(Path(other).iterdir()),
        "write elsewhere": lambda: (Path(other) / "new").write_bytes(b"x"),
        "see the parent's environment": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
        "what was open before": before.read,
        "import late": lambda: __import__("xmlrpc.server"),
        "random bytes": lambda: os.close(os.open("/dev/urandom", os.O_RDONLY)),
    }
    if machine == "x86_64":
        tries |= {"calls of 32 bits": calls_of_32_bits, "calls of x32": calls_of_x32}
    results = {name: attempt(one) for name, one in tries.items()}
    os.kill(os.getpid(), signal.SIGCHLD)
    print(json.dumps({"missing": missing, "results": results}))


def attempt(one: Callable[[], object]) -> str:
    try:
        one()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


if __name__ == "__main__":
    main(*sys.argv[1:])
