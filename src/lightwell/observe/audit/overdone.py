"""Removals that took more than ``audit_keep`` allowed, by what the trail itself says of both.

Each start of a server has its settings on record where they differ from those before, and each removal says
by how many days it went and of when the newest was that went. Only what a seal proves counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from lightwell.observe.audit.heads import REMOVED
from lightwell.observe.audit.keys import AuditKeys
from lightwell.observe.audit.record import BEGINS, AuditRecord, decode_line
from lightwell.observe.audit.sealed import newest_sealed, sealed_blocks
from lightwell.observe.audit.segments import segments, writers
from lightwell.observe.audit.verification import ChainReport, Finding

STARTED: Final = "ServerStarted"
SETTING: Final = "audit_keep"
_DAY: Final = 86_400_000
# Removals go by the database's clock where it has one, and what is behind them by the machine's.
_SLACK: Final = _DAY
_NAMED: Final = f'"do":"{REMOVED}"'.encode()


def add_overdone(reports: Sequence[ChainReport], root: Path, keys: AuditKeys) -> None:
    """Add to the reports of a trail below ``root`` what was removed too early. Raises `OSError`."""
    by_writer = {report.writer: report for report in reports}
    # HTTP processes remove nothing, and have no start of a server on record.
    folders = [folder for folder in writers(root) if not folder.name.startswith("http")]
    starts = sorted(start for folder in folders for start in _starts(folder, keys))
    for folder in folders:
        if folder.name in by_writer:
            by_writer[folder.name].findings += _Removals(folder, keys, starts).run()


class _Start(NamedTuple):
    """When a server was started, with how many days."""

    at: int
    days: int


def _starts(folder: Path, keys: AuditKeys) -> Iterator[_Start]:
    """Those that a chain tells of, as far as the setting was another one than at the start before.

    That may be in another chain: the same data folder is served with work and without.
    """
    with suppress(PermissionError):
        for record in newest_sealed(folder, keys, STARTED):
            for change in record.change:
                if change.what == SETTING:
                    with suppress(ValueError):
                        yield _Start(record.at, int(change.after or "0"))


@dataclass(slots=True)
class _Removal:
    """One that was allowed by its own clock: what is behind it may show that this was ahead."""

    segment: int
    at: int
    keep: int
    newest: int


class _Removals:
    """Those that one chain has on record."""

    def __init__(self, folder: Path, keys: AuditKeys, starts: Sequence[_Start]) -> None:
        self._folder = folder
        self._keys = keys
        self._starts = starts
        self._removals: list[_Removal] = []
        self._findings: list[Finding] = []

    def run(self) -> list[Finding]:
        for segment in segments(self._folder):
            with suppress(ValueError, PermissionError):
                data = segment.read()
                if not self._removals and _NAMED not in data:
                    continue
                for block in sealed_blocks(self._folder.name, segment, data, self._keys):
                    self._by_a_later_clock(block.at)
                    for record in _records(data[block.start : block.end]):
                        self._look_at(segment.number, record)
        return self._findings

    def _look_at(self, segment: int, record: AuditRecord) -> None:
        said = record.query or {}
        keep, newest = said.get("keep"), said.get("newest")
        setting = next((each.days for each in reversed(self._starts) if each.at <= record.at), None)
        if setting is not None and keep not in (None, setting):
            self._find(segment, f"{_what(record.at)} went by {keep} days, and {_setting(setting)}")
        elif setting == 0:
            self._find(segment, f"{_what(record.at)} went, and {_setting(0)}")
        if not isinstance(keep, int) or not isinstance(newest, int):
            return  # Of a version that did not say it.
        if newest > record.at - keep * _DAY:
            self._find(segment, f"{_what(record.at)} took records of {_time(newest)}, within {keep} days")
        else:
            self._removals.append(_Removal(segment, record.at, keep, newest))

    def _by_a_later_clock(self, now: int) -> None:
        """What was written behind a removal, and yet before it could have been one."""
        for one in [one for one in self._removals if one.newest > now + _SLACK - one.keep * _DAY]:
            self._removals.remove(one)
            self._find(
                one.segment,
                f"{_what(one.at)} went by a clock that was ahead: what is behind it is of {_time(now)}, "
                f"and it took records of {_time(one.newest)}, within {one.keep} days",
            )

    def _find(self, segment: int, text: str) -> None:
        self._findings.append(Finding(self._folder.name, segment, text))


def _records(block: bytes) -> Iterator[AuditRecord]:
    for line in block.splitlines():
        if line.startswith(BEGINS) and _NAMED in line:
            with suppress(ValueError):
                record = decode_line(line)
                if record.operation == REMOVED and not record.recovered:
                    yield record


def _what(at: int) -> str:
    return f"the removal of old records at {_time(at)}"


def _setting(days: int) -> str:
    said = f"{SETTING} was {days}" if days else f"{SETTING} was 0, which keeps them for ever"
    return f"{said} when the server started"


def _time(at: int) -> str:
    try:
        return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return "no time"
