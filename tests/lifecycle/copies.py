"""Copies of the model: of a whole set or some instances, to a new or an existing set, and promotion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.lifecycle.changes import VALIDATION, bare
from tests.lifecycle.model import REMOVED, Content, ImageSet, Member, Model, rebased
from tests.lifecycle.native import Values

CONFLICT, NOT_FOUND = "ConflictException", "ResourceNotFoundException"


@dataclass(frozen=True)
class Copy:
    """A CopyImageSet request; ``only`` are the instances that are named, None for all."""

    source: ImageSet
    destination: ImageSet | None = None
    only: tuple[str, ...] | None = None
    force: bool = False
    promote: bool = False


def refusal(copy: Copy, *, stale: bool = False) -> str | None:
    """The error by which a copy is refused at once; ``stale``: not of the latest versions."""
    if copy.destination is copy.source or (copy.promote and copy.destination is not None):
        return VALIDATION
    if stale:
        return NOT_FOUND
    if copy.only is not None and (not copy.only or not set(copy.only) <= copy.source.existing.members.keys()):
        return VALIDATION
    if copy.promote and copy.source.is_primary:
        return CONFLICT
    return None


def copy(model: Model, request: Copy) -> ImageSet:
    """Make a copy that is not refused; the set that has a new version, maybe a failed one."""
    model.time += 1
    existing = request.source.existing
    uids = existing.members.keys() if request.only is None else request.only
    forced = True if request.force else None
    if request.promote:
        return _promote(model, request, uids, forced)
    if request.destination is None:
        made = ImageSet(model.time, "copy", False)
        made.add("COPIED", _new(existing, uids), forced=forced)
        model.sets.append(made)
        return made
    _merge(request.destination, existing, uids, force=request.force, forced=forced)
    return request.destination


def _new(existing: Content, uids: Iterable[str]) -> Content:
    return rebased(replace(existing, members={uid: replace(existing.members[uid], since=1) for uid in uids}))


def _merge(
    target: ImageSet, source: Content, uids: Iterable[str], *, force: bool, forced: bool | None
) -> None:
    combined = _combined(target, source, list(uids), force=force)
    if combined is None:
        target.add("COPY_FAILED", target.existing, failed=True, forced=forced)
    else:
        target.add("COPIED", combined, forced=forced)


def _combined(target: ImageSet, source: Content, uids: Sequence[str], *, force: bool) -> Content | None:
    """The content of the set with the instances added; None where they cannot be added."""
    existing = target.existing
    agree = all(_agree(a.shown, b.shown) for a, b in zip(source.levels, existing.levels, strict=True))
    if any(uid in existing.members for uid in uids) or not (agree or force):
        return None
    members = [source.members[uid] for uid in uids]
    if not force and any(_hidden(source, existing, member) for member in members):
        return None
    added = {
        member.uid: _adapted(source, existing, member, target.number + 1, force=not agree)
        for member in members
    }
    return replace(existing, members={**existing.members, **added})


def _agree(one: Values, other: Values) -> bool:
    return all(_filled(one.get(key)) == _filled(other.get(key)) for key in one.keys() | other.keys())


def _filled(value: Any) -> Any:
    """The value without padding; absent counts as empty."""
    return None if bare(value) == [] else bare(value)


def _hidden(source: Content, existing: Content, member: Member) -> bool:
    """Whether an instance would lose a value of its own under what was edited in the other set."""
    return any(
        _filled(member.own(number).get(key)) != _filled(ours.shown.get(key))
        for number, (theirs, ours) in enumerate(zip(source.levels, existing.levels, strict=True))
        for key in ours.edits.keys() - theirs.edits.keys()
    )


def _adapted(source: Content, existing: Content, member: Member, number: int, *, force: bool) -> Member:
    """A member of ``source`` as it stands in the set that holds ``existing``.

    What the source's levels were given since is its own now. With force it takes what the other set shows
    where the levels of both show different things. Edits of the other set's levels settle what they name.
    """
    edits: dict[str, Any] = dict(member.edits)
    for theirs, ours in zip(source.levels, existing.levels, strict=True):
        edits |= {key: value for key, value in theirs.edits.items() if key not in ours.edits}
        there, here = theirs.shown, ours.shown
        for key in (there.keys() | here.keys()) - ours.edits.keys() if force else ():
            if there.get(key, REMOVED) != here.get(key, REMOVED):
                edits[key] = here.get(key, REMOVED)
    return replace(member, since=number, edits=edits)


def _promote(model: Model, request: Copy, uids: Iterable[str], forced: bool | None) -> ImageSet:
    """Into the primary set of the series, or else a new one; a new set without content where that fails."""
    existing = request.source.existing
    primary = model.primary(existing.series)
    if primary is not None:
        combined = _combined(primary, existing, list(uids), force=False)
        if combined is not None:
            primary.add("COPIED", combined, forced=forced)
            return primary
    content = _new(existing, uids)
    # A promoted set is one that imports join.
    made = ImageSet(model.time, "import", True)
    if primary is not None or model.contradicts(content):
        made = ImageSet(model.time, "copy", False)
        made.add("COPY_FAILED", None, failed=True, forced=forced)
    else:
        made.add("COPIED", content, forced=forced)
    model.sets.append(made)
    return made
