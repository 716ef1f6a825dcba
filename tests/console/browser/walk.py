"""The browser of the walk: a Node process that runs one chapter after another and cannot hang the tests."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.server import environment

# After the 400 s that the browser gives a chapter itself, to say then what it saw.
CHAPTER_SECONDS = 450.0
STOP_SECONDS = 20.0


class ChapterFailed(AssertionError):
    """A chapter did not go as it should; says what was seen, and where the pictures of it are."""


@dataclass(slots=True)
class Walk:
    """A browser that is at the console of a server."""

    process: subprocess.Popen[str]
    answers: queue.Queue[str | None] = field(default_factory=queue.Queue)
    said: list[str] = field(default_factory=list)

    def chapter(self, name: str, **given: Any) -> dict[str, Any]:
        """Run ``tests/browser/console/chapters/NAME.mjs``; what it answers.

        Fails where it fails, and where a request left the machine, a page logged an error or a value ran.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"chapter": name, "given": given}) + "\n")
            self.process.stdin.flush()
            line = self.answers.get(timeout=CHAPTER_SECONDS)
        except (OSError, queue.Empty):
            line = None
        if line is None:
            _end(self.process)
            raise ChapterFailed(f"the browser is gone or does not answer in {name}:\n" + "".join(self.said))
        answer = json.loads(line)
        if "error" in answer or answer["faults"]:
            raise ChapterFailed("\n".join([answer.get("error", ""), *answer["faults"]]))
        output: dict[str, Any] = answer["output"]
        return output


@contextmanager
def walking(scripts: Path, origin: str, out: Path, env: Mapping[str, str] | None = None) -> Iterator[Walk]:
    """A browser for the console at ``origin``; what it shows when a chapter fails is kept in ``out``."""
    process = subprocess.Popen(
        ["node", "console/walk.mjs"],
        cwd=scripts,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment(), "ORIGIN": origin, "OUT": str(out), **(env or {})},
        start_new_session=True,
    )
    walk = Walk(process)

    def read_answers() -> None:
        assert process.stdout is not None
        with process.stdout as stream:
            for line in stream:
                walk.answers.put(line)
        walk.answers.put(None)

    def read_errors() -> None:
        assert process.stderr is not None
        with process.stderr as stream:
            walk.said.extend(stream)

    threads = [threading.Thread(target=work, daemon=True) for work in (read_answers, read_errors)]
    for thread in threads:
        thread.start()
    try:
        yield walk
    finally:
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        _end(process)
        for thread in threads:
            thread.join(5)


def _end(process: subprocess.Popen[str]) -> None:
    """Kill it; Chromium ends with the pipe to it."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
