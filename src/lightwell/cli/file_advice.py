"""What a person does about a file, a folder or an output that cannot be used."""

from __future__ import annotations

import errno

_ADVICE = {
    errno.EACCES: "run this as its owner, or check its owner and mode",
    errno.EPERM: "run this as its owner, or check its owner and mode",
    errno.EEXIST: "move it away, or give another name",
    errno.EISDIR: "name a file in it",
    errno.ELOOP: "its links lead in a circle; check them",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENFILE: "the system has too many open files; close some programs",
    errno.ENOENT: "check how it is spelled",
    errno.ENOSPC: "free up space on its disk",
    errno.ENOTDIR: "a part of it is a file, not a folder; check the path",
    errno.EDQUOT: "free up space within the disk quota",
    errno.EFBIG: "raise the limit of the size of files (`ulimit -f`)",
    errno.EIO: "its disk or network failed; see the system's log",
    errno.EROFS: "its file system is mounted read-only; use another folder",
    errno.ESTALE: "its network file system has lost it; mount it again",
    errno.ENOMEM: "free up memory",
    errno.EAGAIN: "the system has too many processes; end some (`ulimit -u`)",
}


def advice(error: OSError) -> str:
    """What to do about an error of the system."""
    return _ADVICE.get(error.errno or 0, "check the path")


def sentence(error: OSError) -> str:
    """What happened, to which file if that is known, and what to do."""
    reason = error.strerror or str(error)
    if error.filename is not None:
        return f"{_shown(error.filename)}: {reason}; {advice(error)}"
    return f"{reason}; {advice(error)}" if error.errno in _ADVICE else reason


def _shown(name: object) -> str:
    return name.decode(errors="backslashreplace") if isinstance(name, bytes) else str(name)
