"""Instances as DICOM files in one ZIP archive: of a study, a series, or of any image sets.

Source: PS3.18 §8.7.3 (``application/zip``, since Supplement 211). HealthImaging has none of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from lightwell.documents.file_names import file_name
from lightwell.documents.retrieve_syntax import ANY_SYNTAX
from lightwell.documents.zip_stream import ArchivedFile, zip_stream
from lightwell.errors import NotAcceptableError, NotFoundError, ValidationError
from lightwell.imaging.instances.writer import Part10File
from lightwell.operations.context import Context
from lightwell.operations.dicomweb import retrieve
from lightwell.operations.dicomweb.lookup import check_ids, note_sets
from lightwell.operations.dicomweb.retrieve import FoundInstance, RetrievedInstance
from lightwell.stores.image_sets import by_series, part10_instances
from lightwell.stores.image_sets.by_series import SeriesSet

MOST_INSTANCES = 50_000
"""In one archive: the directory at its end is held in memory until then."""
MOST_SETS = 150


def find_sets(ctx: Context, datastore_id: str, image_set_ids: Sequence[str]) -> list[SeriesSet]:
    """The image sets with these ids, in the order in which they are put in: by study, then as given.

    Raises `ValidationError` for malformed or too many ids, or too many instances, `NotFoundError` for a set
    that does not exist.
    """
    ids = list(dict.fromkeys(image_set_ids))
    if not 0 < len(ids) <= MOST_SETS:
        raise ValidationError(f"Name from 1 to {MOST_SETS} image sets for one archive.")
    for each in ids:
        check_ids(datastore_id, each)
    with ctx.stores.db.read() as conn:
        found = {each.id: each for each in by_series.of_ids(conn, datastore_id, ids)}
        for id in ids:
            if id not in found:
                raise NotFoundError(f"Data store {datastore_id} has no image set {id}.")
        count = sum(part10_instances.count(conn, each.key, each.version) for each in found.values())
    if count > MOST_INSTANCES:
        raise ValidationError(
            f"These image sets have {count:,} instances, and an archive has at most {MOST_INSTANCES:,}: "
            "export fewer at a time, or run `lightwell export`."
        )
    note_sets(ctx, found.values())
    studies = list(dict.fromkeys(found[id].study_instance_uid for id in ids))
    return sorted((found[id] for id in ids), key=lambda each: studies.index(each.study_instance_uid))


def archive_of_sets(ctx: Context, sets: Sequence[SeriesSet], wanted: str | None = None) -> Iterator[bytes]:
    """The archive of image sets; the instances of each are looked up when its turn comes."""

    def found() -> Iterator[FoundInstance]:
        for each in sets:
            with ctx.stores.db.read() as conn:
                instances = part10_instances.instances(conn, each.key, each.version)
            if not instances:
                raise NotFoundError(f"Image set {each.id} does not exist any more.")
            yield from (FoundInstance(each, instance) for instance in instances)

    return _archive(ctx, found(), sets, wanted)


def archive_of_instances(
    ctx: Context, found: Sequence[FoundInstance], wanted: str | None = None
) -> Iterator[bytes]:
    """The archive of these instances, those of a set together.

    Raises `NotAcceptableError` where there are too many, or one of them is not available in ``wanted``: an
    archive is never short of anything.
    """
    if len(found) > MOST_INSTANCES:
        raise NotAcceptableError(
            f"An archive has at most {MOST_INSTANCES:,} instances, and this has {len(found):,}. "
            "Ask for it series by series."
        )
    missing = len(found) - len(retrieve.select_instances(found, wanted, alone=False))
    if missing:
        raise NotAcceptableError(
            f"{missing} instances are not available in the transfer syntax {wanted}, and an archive has all "
            "or none. Ask for transfer-syntax=* to get them as they are stored."
        )
    return _archive(ctx, found, list({each.set.key: each.set for each in found}.values()), wanted)


def _archive(
    ctx: Context, found: Iterable[FoundInstance], sets: Sequence[SeriesSet], wanted: str | None
) -> Iterator[bytes]:
    now = datetime.fromtimestamp(ctx.clock.now() / 1000, UTC)
    moment = (max(now.year, 1980), now.month, now.day, now.hour, now.minute, now.second)
    return zip_stream(_files(ctx, found, _folders(sets), wanted), moment)


def _folders(sets: Sequence[SeriesSet]) -> dict[int, str]:
    """A folder for each set: study and series; where a series is in several sets, the id of the set, too."""
    times = Counter((each.study_instance_uid, each.series_instance_uid) for each in sets)
    return {
        each.key: f"{file_name(each.study_instance_uid)}/{file_name(each.series_instance_uid)}"
        + (f"_{each.id}" if times[each.study_instance_uid, each.series_instance_uid] > 1 else "")
        for each in sets
    }


def _files(
    ctx: Context, found: Iterable[FoundInstance], folders: dict[int, str], wanted: str | None
) -> Iterator[ArchivedFile]:
    """In the order of a series, so that names that count sort as its instances do."""
    key, number = 0, 0
    for each in found:
        number = number + 1 if each.set.key == key else 1
        key = each.set.key
        file = _open(ctx, each, wanted)
        yield ArchivedFile(f"{folders[key]}/{number:05d}.dcm", file.length, file.pieces)


def _open(ctx: Context, found: FoundInstance, wanted: str | None) -> Part10File:
    """The file, as it is stored where it cannot be written in the syntax that nobody has asked for."""
    sent = retrieve.select_instances([found], wanted, alone=False)
    if not sent:
        raise NotAcceptableError(f"Instance {found.instance.sop_instance_uid} is not available in {wanted}.")
    try:
        return retrieve.open_file(ctx, sent[0])
    except NotAcceptableError:
        stored = retrieve.select_instances([found], ANY_SYNTAX, alone=False)
        if wanted is not None or not stored or stored == sent:
            raise
        return retrieve.open_file(ctx, RetrievedInstance(found, stored[0].syntax))
