"""Log lines about what lasts."""

from __future__ import annotations

import logging

import pytest

from lightwell.observe.seldom import SECONDS, Seldom


def test_logs_each_kind_of_line_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    seldom = Seldom(logging.getLogger("seldom"), lambda: now)
    with caplog.at_level(logging.INFO):
        for number in range(150):
            now = number * SECONDS / 60
            seldom(logging.INFO, "the queue is away: %s", number)
        seldom(logging.WARNING, "events are away: %s", "x")
    assert caplog.messages == [
        "the queue is away: 0",
        "the queue is away: 60",
        "the queue is away: 120",
        "events are away: x",
    ]
