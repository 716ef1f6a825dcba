"""A page of the documentation, and a shell into which its blocks are pasted as a reader would."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_NEEDS = re.compile(r"# (?:needs|part of) (\S.*)")
_SECONDS = 240.0

# Runs blocks of `>>>` lines, each a JSON string on one line, in one namespace; answers each with what doctest
# has to say against it.
_PROMPT = """
import doctest, io, json, sys
names = {}
for line in sys.stdin:
    said = io.StringIO()
    test = doctest.DocTestParser().get_doctest(json.loads(line), names, "page", None, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=said.write, clear_globs=False)
    names = test.globs
    print(json.dumps(said.getvalue()), flush=True)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block: its language, its text, and what it says that it needs besides lightwell."""

    line: int
    language: str
    text: str
    needs: str | None


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of commands and Python on a page, in order.

    A block that cannot be pasted says so in its first line: ``# needs …`` or ``# part of …``.
    """
    text = page.read_text("utf-8")
    for found in _FENCE.finditer(text):
        if found[1] in ("sh", "python"):
            code = textwrap.dedent(found[2])
            needs = _NEEDS.fullmatch(code.partition("\n")[0])
            line = text.count("\n", 0, found.start()) + 1
            yield Block(line=line, language=found[1], text=code, needs=needs[1] if needs else None)


class Terminal:
    """A bash in ``folder`` with nothing but ``environ``, and a Python prompt when it is needed."""

    def __init__(self, folder: Path, notes: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self._notes = notes
        self._notes.mkdir()
        self._output = self._notes / "output"
        self._failed = self._notes / "failed"
        self._pasted = 0
        self._prompt: subprocess.Popen[str] | None = None
        with self._output.open("wb") as output:
            self._bash = subprocess.Popen(
                ["/bin/bash", "--noprofile", "--norc"],
                stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
                cwd=folder, env=dict(environ), text=True, start_new_session=True,
            )  # fmt: skip
        self.paste(f"set -o pipefail; trap 'echo \"$BASH_COMMAND\" >> {self._failed}' ERR\n")

    def paste(self, text: str) -> str:
        """Run these lines and return what they printed. Raises `AssertionError` if one of them fails."""
        self._pasted += 1
        done, before = self._notes / f"done-{self._pasted}", self._output.stat().st_size
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"{text.rstrip()}\ntouch {done}\n")
        self._bash.stdin.flush()
        deadline = time.monotonic() + _SECONDS
        while not done.exists():
            assert self._bash.poll() is None, f"the shell ended: {self._output.read_text()}"
            assert time.monotonic() < deadline, f"still busy with:\n{text}\n{self._output.read_text()}"
            time.sleep(0.02)
        said = self._output.read_bytes()[before:].decode()
        assert not self._failed.exists(), f"{self._failed.read_text()}failed:\n{said}"
        return said

    def await_text(self, text: str) -> None:
        """Wait until what runs in the background has printed this."""
        deadline = time.monotonic() + _SECONDS
        while text not in (said := self._output.read_text(errors="replace")):
            assert time.monotonic() < deadline, said
            time.sleep(0.02)

    def environ(self) -> dict[str, str]:
        """The variables that the shell has exported by now."""
        path = self._notes / "environ"
        self.paste(f"env -0 > {path}")
        pairs = (entry.partition("=") for entry in path.read_text().split("\0") if entry)
        return {name: value for name, _, value in pairs}

    def python(self, text: str) -> str:
        """Run Python in the shell's environment and return what it printed.

        Lines after ``>>>`` go to a prompt that keeps its names, and must print what the page says they
        print; anything else is a program.
        """
        if not text.lstrip().startswith(">>>"):
            done = subprocess.run(
                [sys.executable, "-c", text],
                cwd=self.folder, env=self.environ(), capture_output=True, text=True, timeout=_SECONDS,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            return done.stdout
        if self._prompt is None:
            self._prompt = subprocess.Popen(
                [sys.executable, "-c", _PROMPT],
                cwd=self.folder, env=self.environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        assert self._prompt.stdin is not None
        assert self._prompt.stdout is not None
        self._prompt.stdin.write(json.dumps(text) + "\n")
        self._prompt.stdin.flush()
        complaint = json.loads(self._prompt.stdout.readline())
        assert complaint == "", complaint
        return ""

    def close(self) -> None:
        """End what the page has left running, in its order: the server gets SIGTERM and time to stop."""
        if self._prompt is not None:
            self._prompt.kill()
            self._prompt.communicate()
        try:
            with contextlib.suppress(BrokenPipeError):
                self._bash.communicate("trap - ERR; kill $(jobs -p) 2>/dev/null; wait\n", timeout=_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._bash.pid, signal.SIGKILL)
            self._bash.wait()
