"""Progress bars on stderr, each with a name, such as files read and files imported."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


class Progress:
    """A context manager; shows nothing if quiet."""

    def __init__(self, *names: str, quiet: bool) -> None:
        self._names: Sequence[str] = names
        self._quiet = quiet
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Progress:
        if not self._quiet:
            from lightwell.cli.progress_bars import bars

            self._bars = bars(max(map(len, self._names)))
            self._tasks = {name: self._bars.add_task(name, total=None) for name in self._names}
            self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.pause()

    def pause(self) -> None:
        """Draw nothing from now on."""
        if self._bars is not None:
            self._bars.stop()

    def show(self, name: str, done: int, total: int | None) -> None:
        """Update a bar; without a total its end is not known yet."""
        if self._bars is not None:
            self._bars.update(self._tasks[name], completed=done, total=total)

    def say(self, text: str) -> None:
        """Print a line on stderr, above the bars where there are some."""
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr)
