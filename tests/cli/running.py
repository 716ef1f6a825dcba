"""Running ``lightwell`` as a person does: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest import mock

from lightwell.cli import doctor
from lightwell.cli.main import main
from tests.encryption import everywhere
from tests.support.ct_files import write_series
from tests.support.server import environment


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def lightwell(
    *arguments: str | Path,
    data: Path | None = None,
    timeout: float = 240,
    environ: Mapping[str, str] = MappingProxyType({}),
) -> Done:
    """Run a command line to its end; ``environ`` adds variables."""
    command = [sys.executable, "-m", "lightwell.cli.main", *map(str, arguments)]
    if data is not None:
        command += ["--data", str(data)]
    env = environment({**everywhere.variables(" ".join(command)), **environ})
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=env)
    return Done(done.returncode, done.stdout, done.stderr)


def lightwell_here(
    *words: str | Path,
    data: Path,
    database_url: str | None = None,
    environ: Mapping[str, str] = MappingProxyType({}),
) -> Done:
    """The same in this process, where another would take a second; ``environ`` adds variables to its own."""
    out, err = StringIO(), StringIO()
    url = () if database_url is None else ("--database-url", database_url)
    given = {**everywhere.variables(database_url), **environ}
    with mock.patch.dict(os.environ, given), redirect_stdout(out), redirect_stderr(err):
        status = main([*map(str, words), "--data", str(data), *url])
    return Done(status, out.getvalue(), err.getvalue())


def doctor_here(*words: str | Path, data: Path, environ: Mapping[str, str] = MappingProxyType({})) -> Done:
    """``lightwell doctor`` in this process, without its checks of codecs and of what confines their workers.

    These start processes, and say the same whatever the data folder is.
    """
    checks = {name: check for name, check in doctor.CHECKS.items() if name not in ("codecs", "sandbox")}
    with mock.patch.dict(doctor.CHECKS, checks, clear=True):
        return lightwell_here("doctor", "--port", "0", *words, data=data, environ=environ)


def import_series(folder: Path, count: int = 2) -> Path:
    """Import instances from ``folder/in`` into the data store *d*; the data folder, ``folder/data``."""
    write_series(folder / "in", count)
    done = lightwell_here("import", folder / "in", "--datastore", "d", data=folder / "data")
    assert done.status == 0, done
    return folder / "data"
