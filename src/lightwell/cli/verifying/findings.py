"""What `lightwell data verify` says of what it has found, by kind, and what to do about it."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightwell.cli.store_session import chown_command, user_name
from lightwell.cli.wording import counted
from lightwell.domain.integrity import FaultKind
from lightwell.stores.objects.open import local_root

if TYPE_CHECKING:
    from lightwell.domain.integrity import Problem
    from lightwell.settings import Settings
    from lightwell.work.verifying.report import Report

_KEY_CURE = (
    "{}: delete nothing and import nothing again. "
    "Bring the key back, then verify again; `lightwell doctor` tells when it is there."
)
_DROPPED_CURE = (
    "Nothing is to be done: it was a copy, and is made again of what is stored when it is wanted. Where that "
    "happens again and again without a crash or a kill, look at the disk of the data folder."
)
PAGES_CURE = (
    "A damaged page of the database is not put back by itself: stop the server, keep the file, and restore "
    'the newest backup to another folder; docs/howto/integrity.md says under "A damaged page" how to bring '
    "in what came since."
)


@dataclass(frozen=True, slots=True)
class Finding:
    """All problems of one kind, and how to fix them."""

    kind: str
    problems: list[Problem]
    says: str
    cure: str


def findings_of(report: Report, settings: Settings) -> list[Finding]:
    """What a run has found, by kind."""
    damaged = [problem for problem in report.problems if problem.kind == FaultKind.DAMAGED]
    unreadable = [problem for problem in report.problems if problem.kind == FaultKind.UNREADABLE]
    locked = [problem for problem in report.problems if problem.kind == FaultKind.WITHOUT_KEY]
    found = []
    if locked:
        packs = len({problem.pack for problem in locked if problem.pack is not None})
        held = f"{counted(packs, 'pack')} hold" if packs else "image sets show"
        # Bytes are compared without a key, too.
        is_whole = "No data is known to be lost, and none of it was looked at"
        unknown = "What is encrypted was not looked at, but for its bytes" if damaged else is_whole
        reason = min((problem for problem in locked), key=lambda problem: problem.pack or "").reason
        says = f"What {held} is encrypted and its key is not to be had: {reason.rstrip('.')}"
        found.append(Finding(FaultKind.WITHOUT_KEY, locked, says, _KEY_CURE.format(unknown)))
    if unreadable:
        packs = len({problem.pack for problem in unreadable})
        found.append(
            Finding(
                FaultKind.UNREADABLE,
                unreadable,
                f"{counted(packs, 'pack')} cannot be read, such as {_shown(unreadable[0], settings)}",
                _how_to_make_readable(settings),
            )
        )
    dropped = [problem for problem in report.problems if problem.kind == FaultKind.DROPPED]
    if dropped:
        says = f"{counted(len(dropped), 'cached document')} dropped, such as: {dropped[0].reason}"
        found.append(Finding(FaultKind.DROPPED, dropped, says, _DROPPED_CURE))
    if damaged:
        cure = _cure(damaged)
        found.append(
            Finding(FaultKind.DAMAGED, damaged, f"{counted(len(damaged), 'problem')}: data is damaged", cure)
        )
    return found


def _cure(damaged: Sequence[Problem]) -> str:
    pages = [p for p in damaged if p.pack is None and " of the database is damaged: " in p.reason]
    packs = [p for p in damaged if p.pack is not None and p.sop_instance_uid is None]
    sentences = []
    if packs:
        sentences.append(
            "`lightwell data verify --repair --from BACKUP` puts back packs that a backup has whole."
        )
    if len(pages) < len(damaged):
        sentences.append("Restore the damaged instances from a backup, or import them again.")
    if any(p.pack is None and p.image_set_id is not None and p.sop_instance_uid is None for p in damaged):
        sentences.append(
            "`lightwell data verify --repair` makes anew what image sets are found by, where what they show "
            "is right."
        )
    if pages:
        sentences.append(PAGES_CURE)
    return " ".join(sentences)


def _shown(problem: Problem, settings: Settings) -> str:
    """A pack; with its owner and mode if it is a local file."""
    root = local_root(settings.storage)
    if root is None or problem.pack is None:
        return f"{problem.pack}: {problem.reason}"
    path = root / problem.pack
    try:
        status = path.stat()
    except OSError:
        return str(path)
    return f"{path} (owner {user_name(status.st_uid)}, mode {stat.S_IMODE(status.st_mode):04o})"


def _how_to_make_readable(settings: Settings) -> str:
    root = local_root(settings.storage)
    if root is None:
        return "No data is known to be lost: make the storage reachable, then verify again."
    return (
        f"No data is known to be lost: as root, run `{chown_command(root)} && "
        f"chmod -R u+rwX {shlex.quote(str(root))}`, then verify again."
    )
