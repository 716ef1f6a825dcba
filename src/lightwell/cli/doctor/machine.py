"""The doctor's checks of this machine: Python, settings, disk, codecs, sandbox, clock."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from lightwell import __version__
from lightwell.cli.doctor.warning import DoctorWarning
from lightwell.errors import LightwellError
from lightwell.setting_groups.declaration import GiB
from lightwell.settings import Settings, worker_environment

# The codecs run in a process of their own, as in imports.
_CODECS = """
import numpy as np
from lightwell.imaging.pixels import htj2k, jpeg2000
samples = np.arange(-3000, 1096, dtype=np.int16).reshape(64, 64)
data, head = htj2k.encode(samples, "MONOCHROME2", cross_check=True)
again = htj2k.decode(memoryview(data)[head:], samples.shape, samples.dtype, "MONOCHROME2")
assert np.array_equal(again, samples), "HTJ2K differs"
jpeg2000.encode(samples, "MONOCHROME2")
"""

# A process that gives up the same privileges as codec workers do.
_SANDBOX = """
import json
from lightwell.codec_pool.sandbox import confinement, landlock
version = landlock.version()
print(json.dumps([version, confinement.confine([], [])]))
"""


def version(settings: Settings) -> str:
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] > (3, 13):
        return (
            f"lightwell {__version__} on Python {python}, which is newer than the tested versions (to 3.13)"
        )
    return f"lightwell {__version__} on Python {python}, {settings.cores} cores"


def settings(settings: Settings) -> str:
    sources = sorted(set(settings.sources.values()))
    return f"{len(settings.sources)} set, from {', '.join(sources)}" if sources else "all have their defaults"


def disk(settings: Settings) -> str:
    folder = settings.data.absolute()
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise LightwellError(f"{folder} is a file, not a folder: give a data folder with --data")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise LightwellError(f"this user cannot write to {folder}: change its owner, or set LIGHTWELL_DATA")
    free = shutil.disk_usage(folder).free
    if free < GiB:
        raise LightwellError(
            f"only {free / GiB:.1f} GiB free at {folder}: free up space; once the disk is full, imports wait "
            "until there is room, and other writes are refused"
        )
    return f"{settings.data.absolute()}, {free / GiB:.0f} GiB free"


def codecs(settings: Settings) -> str:
    done = subprocess.run([sys.executable, "-c", _CODECS], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise LightwellError(
            f"the codecs do not reproduce their input ({_last_line(done)}): reinstall lightwell's "
            "dependencies"
        )
    return "HTJ2K and JPEG 2000 round trips are exact, checked with two decoders"


def sandbox(settings: Settings) -> str:
    if settings.worker_sandbox == "off":
        raise DoctorWarning(
            "worker_sandbox is off: a malicious file that takes over a codec worker can do anything this "
            "user can; set it to on"
        )
    done = subprocess.run(
        [sys.executable, "-P", "-c", _SANDBOX],
        capture_output=True,
        text=True,
        timeout=60,
        env=worker_environment(),
    )
    if done.returncode:
        raise LightwellError(
            f"codec workers cannot be confined on this machine ({_last_line(done)}): set "
            "LIGHTWELL_WORKER_SANDBOX=off to run them without confinement, and please report this"
        )
    landlock, missing = json.loads(done.stdout)
    if missing:
        raise DoctorWarning(f"everything works, but codec workers are less confined: {'; '.join(missing)}")
    return f"codec workers have no_new_privs, a seccomp filter and Landlock (version {landlock})"


def clock(settings: Settings) -> str:
    now = time.time()
    newest = max((p.stat().st_mtime for p in (settings.data, Path(__file__)) if p.exists()), default=0)
    if now < newest - 86400:
        raise LightwellError(
            "the clock is behind the files on this machine: set it, since signatures depend on it"
        )
    shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    return f"{shown}; the clocks of clients must be within 15 minutes of this"


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
