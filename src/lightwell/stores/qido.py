"""Searching studies, series and instances of primary image sets, for QIDO-RS."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from lightwell.domain.qido import Criteria


@dataclass(frozen=True, slots=True)
class Hit:
    """A study, series or instance that was found.

    ``image_set`` is the primary set of the series; of a study, its oldest one. ``record`` is that of the
    instance; of a study or a series, that of the first instance of the set. ``instance`` is None but for
    instances. ``values``: by keyword, what its level and those above show, with
    ``NumberOfStudyRelatedSeries``, ``NumberOfStudyRelatedInstances`` and ``NumberOfSeriesRelatedInstances``;
    None where there is nothing.
    Values of several parts are joined by backslashes; ``RequestAttributesSequence`` is JSON, an array of
    [ScheduledProcedureStepID or null, RequestedProcedureID or null].
    """

    study: int
    image_set: int
    instance: int | None
    record: int
    values: dict[str, str | int | None]


@dataclass(frozen=True, slots=True)
class Found:
    """A page of hits; ``remaining`` is how many come after it, None where there are more, uncounted."""

    hits: list[Hit]
    remaining: int | None


def search(conn: Connection, datastore_key: int, criteria: Criteria) -> Found:
    """The hits of one page. ``conn`` must see one state of the database throughout.

    Order: studies by their last change, newest first; series by SeriesNumber and instances by InstanceNumber,
    those without last; instances of a study by the last change of their series, newest first. Ties by UID.
    """
    raise NotImplementedError
