"""Ends tests that exceed their time limit, even in C code.

pytest-timeout interrupts a test by a signal, which Python handles between two of its own instructions: code
in C that does not come back never gets there, and holds the lock that the thread of a timer would need. So
the thread of faulthandler, which needs nothing of Python, watches beside it: where a test is still there
some time after its limit, it writes where all threads are and ends the process. pytest-xdist then names the
test and goes on in a new process.
"""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Generator

import pytest

# How long pytest-timeout has to end the test in order, with all that its fixtures started.
GRACE_SECONDS = 60.0

# The process's own stderr. A plugin that -p names is loaded before pytest's capture takes descriptor 2.
_STDERR = os.dup(2)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("watchdog_grace", "seconds after a test's limit until its process is ended", default="")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    limit = _limit(item)
    if limit > 0 and not item.config.getoption("usepdb", False):
        grace = float(item.config.getini("watchdog_grace") or GRACE_SECONDS)
        faulthandler.dump_traceback_later(limit + grace, exit=True, file=_STDERR)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _limit(item: pytest.Item) -> float:
    """The limit of pytest-timeout: the test's mark, else the command line's, else that of pyproject.toml."""
    mark = item.get_closest_marker("timeout")
    if mark is not None:
        return float(mark.args[0] if mark.args else mark.kwargs["timeout"])
    given = item.config.getoption("timeout", None)
    return float(given if given is not None else item.config.getini("timeout") or 0)
