"""wrk, a second load generator, so that the ratios do not hang on ours."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence

from bench.clients.http_load import Request
from bench.workspace import new_folder

_SCRIPT = """
local file = io.open("{path}", "rb")
local requests = {{}}
while true do
  local size = file:read(8)
  if not size then break end
  requests[#requests + 1] = file:read(tonumber(size))
end
local at = 0
request = function()
  at = at % #requests + 1
  return requests[at]
end
"""


def missing() -> str | None:
    return None if shutil.which("wrk") else "wrk is not installed (Debian: wrk)"


def drive(
    address: tuple[str, int], requests: Sequence[Request], *, connections: int = 8, seconds: float = 2.0
) -> float:
    """Answers a second with one wrk thread; RuntimeError if any answer was not 2xx."""
    folder = new_folder("wrk")
    try:
        with (folder / "requests").open("wb") as file:
            for request in requests:
                file.write(f"{len(request.data):08d}".encode() + request.data)
        script = folder / "replay.lua"
        script.write_text(_SCRIPT.format(path=folder / "requests"))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script)]
        text = subprocess.run(
            [*command, "http://{}:{}/".format(*address)], check=True, capture_output=True, text=True
        ).stdout
    finally:
        shutil.rmtree(folder)
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"wrk saw errors: {text}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if found is None:
        raise RuntimeError(f"wrk said: {text}")
    return float(found[1])
