"""Lengths of time and moments as flags give them: ``90d``, ``12h``, ``2027-01-31T00:00:00Z``."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from lightwell.errors import ConfigurationError

_SPAN = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def span(text: str, flag: str) -> int:
    """Seconds in a time such as ``30m``, ``8h`` or ``90d``. Raises `ConfigurationError`."""
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ConfigurationError(
            f"{flag} must be a number of days, hours, minutes or seconds, such as 90d or 8h: {text!r}"
        )
    return int(match[1]) * _UNITS[match[2]]


def start(text: str, flag: str, now: int) -> int:
    """Milliseconds of the moment so long before ``now``, or of the given one. Raises `ConfigurationError`."""
    return now - span(text, flag) * 1000 if _SPAN.fullmatch(text) else _moment(text, flag)


def end(text: str, flag: str, now: int) -> int:
    """Milliseconds of the moment so long after ``now``, or of the given one. Raises `ConfigurationError`."""
    found = now + span(text, flag) * 1000 if _SPAN.fullmatch(text) else _moment(text, flag)
    if found <= now:
        raise ConfigurationError(f"{flag} {text} is not in the future")
    return found


def _moment(text: str, flag: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
        zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return int(zoned.astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"{flag} must be a length of time, such as 90d, or a moment, such as 2027-01-31 or "
            f"2027-01-31T18:00:00Z: {text!r}"
        ) from None
