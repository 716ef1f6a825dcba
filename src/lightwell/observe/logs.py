"""Logs: one event per line on stderr, as JSON for machines or text for people.

An event is a name and fields. Fields never hold anything that could identify a patient: no bodies, no query
strings, no error messages of rejected requests (they quote values), and of exceptions no values that Python
or a database quotes (`observe.exception_text`). Whatever the text, a line is one event, or one line below it
that is indented, and has printable characters only; as JSON, ASCII only.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from lightwell.observe.exception_text import exception_lines

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
# Below these levels, what libraries log is noise to an operator, or can be provoked from outside.
_QUIET = {"uvicorn.error": logging.ERROR, "uvicorn.access": logging.CRITICAL, "asyncio": logging.ERROR}


def configure(level: str, format: str, stream: TextIO | None = None) -> None:
    """Send all logs to ``stream`` (stderr). ``format`` is ``auto``, ``text`` or ``json``."""
    stream = stream or sys.stderr
    as_json = format == "json" or (format == "auto" and not stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Json() if as_json else _Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("lightwell").setLevel(_LEVELS[level])
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)
    # The thread and process of each record are never used and cost a third of the time.
    logging.logThreads = logging.logMultiprocessing = False


def event(logger: logging.Logger, level: int, name: str, **fields: object) -> None:
    """Log one event; fields that are None are left out."""
    if logger.isEnabledFor(level):
        logger.log(level, name, extra={"fields": fields})


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return {name: value for name, value in fields.items() if value is not None}


def _exception(record: logging.LogRecord) -> list[str]:
    error = record.exc_info[1] if record.exc_info else None
    return [] if error is None else list(exception_lines(error))


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(record.msecs):03d}Z"


def _on_one_line(text: str) -> str:
    """Escape line breaks and terminal control characters: some of the text comes from strangers."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_fields(record),
        }
        if lines := _exception(record):
            line["exception"] = "\n".join(lines)
        return json.dumps(line, separators=(",", ":"), default=str)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname.lower():7} {_on_one_line(record.getMessage() + fields)}"
        return "\n".join([line, *("  " + _on_one_line(each) for each in _exception(record))])
