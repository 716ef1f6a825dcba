"""Progress bars drawn by the library rich, which is loaded only where they are shown."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from lightwell.cli.time_left import RecentRate, now, words


class _TimeLeftColumn(ProgressColumn):
    """Looks at a bar twice a second and says how long it will take."""

    max_refresh = 0.5

    def __init__(self) -> None:
        super().__init__()
        self._rates: dict[TaskID, RecentRate] = {}

    def render(self, task: Task) -> Text:
        rate = self._rates.setdefault(task.id, RecentRate())
        rate.add(task.completed, now())
        return Text(words(rate.seconds_left(task.total)))


def bars(width: int) -> Progress:
    """Bars on stderr, their names ``width`` characters wide."""
    return Progress(
        TextColumn(f"{{task.description:<{width}}}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        _TimeLeftColumn(),
        console=Console(stderr=True),
    )
