"""A filter of system calls (seccomp(2)): those that no codec needs, but an attacker who took one over would.

It lists what is denied, not what is allowed: the codecs are other people's C and change with every release,
and a call missing from a list of allowed ones would mean a file that cannot be read. Denied calls fail with
EPERM, so that the caller can report it. Calls of another architecture (32 bit, x32) are all denied, as their
numbers mean other calls.

Numbers: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from dataclasses import dataclass

# By name: the number on x86_64 and on aarch64, None where there is no such call.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    # Other processes.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    # Other programs.
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    # Ways around file permissions.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "setns": (308, 268),
    "unshare": (272, 97),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    # Parts of the kernel with a long history of vulnerabilities.
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    # The whole machine, where the server runs as root.
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "vhangup": (153, 58),
    # Accepting connections.
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    # Making any; what was open before, and pairs of sockets, are left.
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
}


@dataclass(frozen=True, slots=True)
class _Machine:
    """``audit`` is its AUDIT_ARCH_…; ``column`` of the tables above; the rest are numbers of calls."""

    audit: int
    column: int
    seccomp: int
    ioctl: int
    clone: int
    clone3: int
    kill: int
    tgkill: int
    prlimit64: int


_MACHINES = {
    "x86_64": _Machine(0xC000003E, 0, 317, 16, 56, 435, 62, 234, 302),
    "aarch64": _Machine(0xC00000B7, 1, 277, 29, 220, 435, 129, 131, 261),
}
_X32 = 0x4000_0000  # set in the number of a call of the x32 ABI
_CLONE_THREAD = 0x0001_0000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C  # typing into somebody's terminal

# Kernels before 5.16 turn off the processor's speculation for a process that has a filter, which costs codecs
# speed; that is meant for programs that run other people's code in the same process.
_SET_MODE_FILTER, _ALL_THREADS, _KEEP_SPECULATION = 1, 1, 4
_ALLOW, _ERRNO = 0x7FFF_0000, 0x0005_0000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
# struct seccomp_data: number of the call, architecture, instruction pointer, six arguments of 64 bits.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

_Instruction = tuple[int, int, int, int]


def filter_calls() -> str | None:
    """Deny these calls to all threads of this process, for good.

    Returns why that is not possible, or None once it is done. No socket can be made, only pairs of them.
    no_new_privs has to be set before.
    """
    machine = _MACHINES.get(os.uname().machine) if sys.platform == "linux" and sys.maxsize > 2**32 else None
    if machine is None:
        return f"there is no list of system calls for {sys.platform} on {os.uname().machine}"
    program = b"".join(struct.pack("=HBBI", *one) for one in _program(machine, os.getpid()))
    code = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    for flags in (_ALL_THREADS | _KEEP_SPECULATION, _ALL_THREADS):  # the first from Linux 4.17 on
        done = libc.syscall(
            ctypes.c_long(machine.seccomp), ctypes.c_uint(_SET_MODE_FILTER), ctypes.c_uint(flags), head
        )
        if done >= 0:
            break
    if done:
        return os.strerror(ctypes.get_errno()) if done < 0 else f"thread {done} has a filter of its own"
    return None


def _program(machine: _Machine, pid: int) -> list[_Instruction]:
    """The filter as instructions of the kernel's BPF machine.

    An instruction is its code, how many to skip if it is true, how many if it is false, and a value.
    """
    refuse = _return(errno.EPERM)
    code: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, machine.audit),
        refuse,
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine.column == 0:
        code += [(_AT_LEAST, 0, 1, _X32), refuse]
    for numbers in _DENIED.values():
        number = numbers[machine.column]
        if number is not None:
            code += [(_EQUAL, 0, 1, number), refuse]
    # glibc uses clone where there is no clone3, and only the flags of clone can be seen by a filter.
    code += [(_EQUAL, 0, 1, machine.clone3), _return(errno.ENOSYS)]
    code += _where(machine.clone, 0, [(_ANY_BIT, 1, 0, _CLONE_THREAD), refuse])
    code += _where(machine.ioctl, 1, [(_EQUAL, 1, 0, _TIOCSTI), (_EQUAL, 0, 1, _TIOCLINUX), refuse])
    for number, own in ((machine.kill, (pid,)), (machine.tgkill, (pid,)), (machine.prlimit64, (0, pid))):
        code += _where(number, 0, [*_among(own), refuse])
    return [*code, (_RETURN, 0, 0, _ALLOW)]


def _where(number: int, argument: int, block: list[_Instruction]) -> list[_Instruction]:
    """For this call alone: load the low 32 bits of an argument, and allow it if ``block`` runs to its end."""
    load = (_LOAD, 0, 0, _ARGUMENTS + 8 * argument)
    return [(_EQUAL, 0, len(block) + 2, number), load, *block, (_RETURN, 0, 0, _ALLOW)]


def _among(values: tuple[int, ...]) -> list[_Instruction]:
    """Skip the instruction after these if the value is one of ``values``."""
    return [(_EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)]


def _return(number: int) -> _Instruction:
    return (_RETURN, 0, 0, _ERRNO | number)
