"""Scripts that drive Chromium through the console: what they need, and what they print."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path
from typing import Any

from bench.servers import lightwell_server
from bench.servers.lightwell_server import Server

_ROOT = Path(__file__).resolve().parents[2]
SITE = _ROOT / "src/lightwell/web/console/site"


def missing() -> str | None:
    """What the machine lacks, as a sentence that says how to get it."""
    if reason := lightwell_server.missing():
        return reason
    for program in ("node", "chromium"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if not (_playwright() / "node_modules/playwright-core").is_dir():
        return f"playwright-core is not installed: npm ci in {_playwright()}, or set PLAYWRIGHT"
    if not (SITE / "index.html").exists():
        return "the console is not built: make console"
    return None


def drive(script: str, server: Server, arguments: list[str], rounds: int) -> list[dict[str, Any]]:
    """What ``bench/clients/SCRIPT`` found in each round. Raises RuntimeError if it failed."""
    credentials = ConfigParser()
    credentials.read(server.data / "credentials")
    profile = credentials["lightwell"]
    keys = [profile["aws_access_key_id"], profile["aws_secret_access_key"]]
    url = "http://{}:{}".format(*server.address)
    done = subprocess.run(
        ["node", _ROOT / "bench/clients" / script, url, *keys, *arguments, str(rounds)],
        capture_output=True,
        text=True,
        timeout=90 * rounds,
        env={**os.environ, "PLAYWRIGHT": str(_playwright())},
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the browser failed: {done.stderr[-2000:]}")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _playwright() -> Path:
    """The folder whose node_modules has playwright-core."""
    return Path(os.environ.get("PLAYWRIGHT") or _ROOT / "tests/browser")
