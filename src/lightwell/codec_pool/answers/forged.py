"""The error for what no codec worker of ours says."""

from __future__ import annotations


class ForgedAnswerError(Exception):
    """A file has taken the worker over, or there is a fault in lightwell: nothing that it says counts.

    ``task`` is what the answer was about, None where it was about nothing that the worker has.
    """

    def __init__(self, what: str, task: int | None = None) -> None:
        super().__init__(f"it answered what it cannot know ({what}): has a file taken it over?")
        self.task = task


def require(is_so: bool, what: str) -> None:
    """Raise `ForgedAnswerError`, unless this ``is_so``."""
    if not is_so:
        raise ForgedAnswerError(what)
