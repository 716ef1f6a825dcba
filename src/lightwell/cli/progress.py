"""Two progress bars on stderr: files read, files imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bars


class Progress:
    """A context manager; shows nothing if quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bars: Bars | None = None

    def __enter__(self) -> Progress:
        if not self._quiet:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as Bars

            self._bars = Bars(
                TextColumn("{task.description:<8}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._read = self._bars.add_task("read", total=None)
            self._imported = self._bars.add_task("imported", total=None)
            self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def show(self, files: int, read: int, imported: int, *, listed: bool) -> None:
        """Update the bars; ``imported`` counts the files that are finished, imported or not."""
        if self._bars is not None:
            total = files if listed else None
            self._bars.update(self._read, total=total, completed=read)
            self._bars.update(self._imported, total=total, completed=imported)
