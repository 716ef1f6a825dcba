"""Tokens as they are made where nothing verifies them, and AWS's runtime for what verifies real ones."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.services import Unavailable

_START_SECONDS = 240.0


def jwt(*, header: Any = None, **claims: Any) -> str:
    """A JWT whose signature is none; good for ten minutes unless the claims say otherwise."""
    now = int(time.time())
    payload = {"iat": now - 60, "exp": now + 600, **claims}
    kept = {name: value for name, value in payload.items() if value is not ...}
    return f"{part(header or {'alg': 'RS256', 'typ': 'JWT'})}.{part(kept)}.c2lnbmF0dXJl"


def part(value: Any) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


@contextlib.contextmanager
def emulator(folder: Path, handler: str, port: int, environment: dict[str, str]) -> Iterator[str]:
    """AWS's runtime interface emulator with AWS's runtime for Python around ``handler``; yields its URL."""
    binary = Path(sys.executable).parent / "aws-lambda-rie"
    if not binary.exists():
        raise Unavailable(
            f"no {binary}: tools/lambda-emulator {sys.executable} takes it out of the wheel of aws-sam-cli, "
            f"where there is one for {platform.machine()}"
        )
    command = [
        str(binary), "--runtime-interface-emulator-address", f"127.0.0.1:{port}",
        "--runtime-api-address", f"127.0.0.1:{port + 1}", sys.executable, "-m", "awslambdaric", handler,
    ]  # fmt: skip
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environment, "PYTHONPATH": str(folder)},
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, process)
            yield url
        finally:
            # The function is a child of the emulator.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait(10)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until the emulator answers, be it that it knows no such path."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url + "/", timeout=5).close()
            return
        except urllib.error.HTTPError as answer:
            answer.close()
            return
        except OSError:
            time.sleep(0.05)
    raise Unavailable("the runtime interface emulator did not start")
