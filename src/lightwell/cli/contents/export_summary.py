"""What `lightwell export` says at its end, for a person and as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lightwell.cli.wording import counted, printable, size

_MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class FailedInstance:
    """An instance that could not be written, and why."""

    image_set: str
    sop_instance_uid: str
    reason: str


@dataclass(frozen=True, slots=True)
class Leftover:
    """What an earlier export has left in the folder that is not in the data store like this any more."""

    image_set: str
    path: Path
    reason: str


@dataclass(slots=True)
class ExportSummary:
    """``unchanged`` files were complete from an earlier run. ``syntaxes`` counts both by TransferSyntaxUID.

    ``frames`` counts them by what their frames are, told where the original transfer syntax was asked for.
    ``notes`` counts the files that are not as they were asked for, by what they are instead. ``ended`` is why
    the export came to no end.
    """

    folder: Path
    datastore_id: str
    transfer_syntax: str | None
    image_sets: int
    written: int = 0
    unchanged: int = 0
    removed: int = 0
    bytes: int = 0
    syntaxes: Counter[str] = field(default_factory=Counter)
    frames: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    failures: list[FailedInstance] = field(default_factory=list)
    leftovers: list[Leftover] = field(default_factory=list)
    ended: str | None = None

    @property
    def exit_code(self) -> int:
        return 1 if self.failures or self.ended else 0

    def as_json(self) -> dict[str, object]:
        return {
            "datastoreId": self.datastore_id,
            "folder": str(self.folder.absolute()),
            "transferSyntax": self.transfer_syntax,
            "isComplete": not self.exit_code,
            "message": self.ended,
            "numberOfImageSets": self.image_sets,
            "numberOfFilesWritten": self.written,
            "numberOfFilesUnchanged": self.unchanged,
            "numberOfFilesRemoved": self.removed,
            "numberOfFilesFailed": len(self.failures),
            "numberOfBytesWritten": self.bytes,
            "filesByTransferSyntaxUID": dict(sorted(self.syntaxes.items())),
            "filesByFrames": dict(sorted(self.frames.items())),
            "notes": [{"note": note, "files": files} for note, files in self.notes.most_common()],
            "failures": [
                {"imageSetId": f.image_set, "sopInstanceUID": f.sop_instance_uid, "reason": f.reason}
                for f in self.failures
            ],
            "leftovers": [
                {"imageSetId": each.image_set, "path": str(each.path.absolute()), "reason": each.reason}
                for each in self.leftovers
            ],
        }

    def as_text(self) -> str:
        sets = counted(self.image_sets, "image set")
        lines = [f"{counted(self.written, 'file')} of {sets} written to {self.folder} ({size(self.bytes)})"]
        if self.unchanged:
            were = "was" if self.unchanged == 1 else "were"
            lines.append(f"{counted(self.unchanged, 'file')} {were} there already, complete and unchanged")
        if self.removed:
            were = "was" if self.removed == 1 else "were"
            lines.append(
                f"{counted(self.removed, 'file')} {were} removed, whose instances are not there any more"
            )
        if self.transfer_syntax is not None:
            lines += [f"  {files:>7,}  {_name(uid)}" for uid, files in self.syntaxes.most_common()]
        if self.transfer_syntax == "original":
            lines.append("their frames:")
            lines += [f"  {files:>7,}  {what}" for what, files in self.frames.most_common()]
        if self.notes:
            lines.append("not as asked for:")
            lines += [f"  {files:>7,}  {note}" for note, files in self.notes.most_common()]
        for each in self.leftovers[:_MOST_SHOWN]:
            lines.append(f"{each.path} is of an earlier export: {each.reason}")
        if len(self.leftovers) > _MOST_SHOWN:
            more = len(self.leftovers) - _MOST_SHOWN
            lines.append(f"and {counted(more, 'more folder')} of earlier exports; --json lists all")
        return "\n".join(lines)

    def failures_as_text(self) -> str:
        """The reasons, one line for each instance that was not exported."""
        lines = [f"lightwell: {counted(len(self.failures), 'instance')} not exported:"]
        for failed in self.failures[:_MOST_SHOWN]:
            lines.append(f"  {printable(failed.sop_instance_uid)}: {printable(failed.reason)}")
        if len(self.failures) > _MOST_SHOWN:
            lines.append(f"  and {len(self.failures) - _MOST_SHOWN:,} more; --json lists all")
        return "\n".join(lines)


def _name(uid: str) -> str:
    from lightwell.imaging.dataset.transfer_syntaxes import SYNTAXES

    return f"{SYNTAXES[uid].name} ({uid})" if uid in SYNTAXES else uid
