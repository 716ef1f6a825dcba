"""Pages of the list of studies: those with a primary image set, and those that have others only.

A page begins where the one before ended (keyset paging). However many studies there are, each page looks at
a bounded number of rows. So a page may have fewer studies than it could, or none, and yet another may follow:
where few match of many, and no index finds them.

The first page of many matches is led by studies whose patient id or accession number is a word of the text,
which follow once more where their place is.

An order that no index has is made of the newest `WITHIN` matches, if there are more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import Connection

from lightwell.domain.qido.study_list import Place, Primaries, StudyCriteria, StudySort, in_order
from lightwell.stores.qido.search import Reader
from lightwell.stores.studies import non_primary
from lightwell.stores.studies.listed import SERVED, ListedStudies, StudyRow
from lightwell.stores.studies.non_primary import FoundStudy

FIRST = 1_000
"""How many are walked along before an index is asked: many match what people look for most."""
FEW = 4_000
"""How many that may match are taken from an index to be sorted."""
MOST = 10_000
"""How many are walked along for one page."""
WITHIN = 1_000
NAMED = 10
"""How many whose patient id or accession number is the text lead the first page of many matches."""


@dataclass(frozen=True, slots=True)
class StudyPage:
    """Studies in their order: the key, and that of the image set that stands for one whose primary sets were
    not found, or that has none.

    ``next`` is the end of the page, None on the last. ``total`` is how many match, None where that was not
    counted. ``sorted_within``: the order is that of so many newest matches, beyond which nothing is shown.
    ``non_primary_within``: of the non-primary sets only so many newest were compared.
    """

    studies: list[tuple[int, int | None]]
    next: Place | None
    total: int | None
    sorted_within: int | None = None
    non_primary_within: int | None = None


def page(
    conn: Connection, datastore: int, criteria: StudyCriteria, *, after: Place | None, limit: int
) -> StudyPage:
    """At most ``limit`` studies that match, those after ``after``. ``conn`` must see one state throughout."""
    listing = _Listing(Reader(conn), datastore, criteria, after, limit)
    found = listing.page()
    return listing.with_named(found) if after is None and found.next is not None else found


class _Listing:
    def __init__(
        self, reader: Reader, datastore: int, criteria: StudyCriteria, after: Place | None, limit: int
    ) -> None:
        self._reader = reader
        self._datastore = datastore
        self._criteria = criteria
        self._after = after
        self._limit = limit
        self._listed = ListedStudies(reader, datastore)
        self._others: dict[int, FoundStudy] = {}
        self._stands_for: dict[int, int | None] = {}
        self._non_primary_within: int | None = None
        self._others_until: Place | None = None
        self._named_others: dict[int, FoundStudy] = {}

    def page(self) -> StudyPage:
        criteria = self._criteria
        if criteria.primaries != Primaries.PRIMARY:
            self._find_others()
        others = [self._listed.place(each.row, criteria.sort) for each in self._others.values()]
        if criteria.primaries == Primaries.NON_PRIMARY:
            return self._of_all(others)
        if criteria.sort not in SERVED:
            return self._by_another_order(others)
        walked = None
        if criteria.studies:
            return self._of_all(self._places(self._listed.few(criteria, FEW) or []) + others)
        if criteria.is_everything:
            walked = self._listed.walk(criteria, self._after, self._limit + 1, self._limit + 1)
        else:
            first = self._listed.walk(criteria, self._after, self._limit + 1, FIRST)
            if first.until is None or len(first.rows) > self._limit:
                walked = first
        if walked is not None and (walked.until is not None or self._after is not None):
            return self._walked(walked.rows, walked.until, others)
        if walked is not None:
            return self._of_all(self._places(walked.rows) + others)
        few = self._listed.few(criteria, FEW)
        if few is not None:
            return self._of_all(self._places(few) + others)
        rest = self._listed.walk(criteria, first.until, self._limit + 1 - len(first.rows), MOST)
        return self._walked([*first.rows, *rest.rows], rest.until, others)

    def with_named(self, found: StudyPage) -> StudyPage:
        """The first page of many, led by what the words name: nobody should have to leaf for a patient id."""
        if not self._criteria.words:
            return found
        named: dict[int, int | None] = {}
        if self._criteria.primaries != Primaries.NON_PRIMARY:
            named = {row.key: None for row in self._listed.named(self._criteria, NAMED)}
        listed = {row.key: row for row in self._listed.rows(list(self._named_others))}
        for key, each in list(self._named_others.items())[:NAMED]:
            row = listed.get(key)
            named.setdefault(key, None if row is not None and self._criteria.matches(row.texts) else each.set)
        shown = {key for key, _ in found.studies}
        leading = [(key, of) for key, of in named.items() if key not in shown]
        return replace(found, studies=[*leading, *found.studies])

    def _find_others(self) -> None:
        """The studies that are found by their non-primary sets, and not as one with a primary set."""
        criteria = self._criteria
        found = non_primary.find(self._reader, self._datastore, criteria, self._after)
        self._non_primary_within = None if found.is_whole else non_primary.NEWEST
        self._others_until, self._named_others = found.until, found.named
        listed = {row.key: row for row in self._listed.rows(list(found.studies))}
        for key, each in found.studies.items():
            row = listed.get(key)
            if row is None:
                self._others[key] = each
                self._stands_for[key] = each.set
            elif not criteria.matches(row.texts):
                # Shown as what was found, which may be of another patient than the primary sets.
                self._others[key] = each
                self._stands_for[key] = each.set
            elif criteria.primaries == Primaries.NON_PRIMARY:
                # By the last change of what was found, which is the order in which it was looked for.
                self._others[key] = FoundStudy(each.set, row._replace(updated_at=each.row.updated_at))

    def _places(self, rows: list[StudyRow]) -> list[Place]:
        return [self._listed.place(row, self._criteria.sort) for row in rows]

    def _by_another_order(self, others: list[Place]) -> StudyPage:
        few = None if self._criteria.is_everything else self._listed.few(self._criteria, FEW)
        if few is not None:
            return self._of_all(self._places(few) + others)
        newest = StudyCriteria(
            words=self._criteria.words,
            first_day=self._criteria.first_day,
            last_day=self._criteria.last_day,
            modalities=self._criteria.modalities,
            sort=StudySort.UPDATED,
        )
        walked = self._listed.walk(newest, None, WITHIN, MOST)
        places = self._places(walked.rows) + others
        return self._of_all(places, None if walked.until is None else len(places))

    def _of_all(self, places: list[Place], sorted_within: int | None = None) -> StudyPage:
        """The page, where ``places`` are those of all that match, as far as others have been compared."""
        if self._others_until is not None:
            return self._up_to(places, None)
        ordered = self._following(places)
        shown = ordered[: self._limit]
        # By the last change, the others are those that follow only.
        is_counted = self._after is None or self._criteria.sort != StudySort.UPDATED
        return StudyPage(
            self._shown(shown),
            shown[-1] if len(ordered) > self._limit else None,
            None if sorted_within or not is_counted else len(places),
            sorted_within,
            self._non_primary_within,
        )

    def _walked(self, rows: list[StudyRow], until: Place | None, others: list[Place]) -> StudyPage:
        """The page of what was found along the order up to ``until``, and of the others up to there."""
        return self._up_to(self._places(rows) + others, until)

    def _up_to(self, places: list[Place], until: Place | None) -> StudyPage:
        """The page, as far as both those with a primary set and others are known."""
        way, others_until = self._criteria.descending, self._others_until
        if others_until is not None and (until is None or until.is_after(others_until, descending=way)):
            until = others_until
        if until is not None:
            places = [each for each in places if not each.is_after(until, descending=way)]
        ordered = self._following(places)
        shown = ordered[: self._limit]
        return StudyPage(
            self._shown(shown),
            shown[-1] if len(ordered) > self._limit else until,
            None,
            None,
            self._non_primary_within,
        )

    def _following(self, places: list[Place]) -> list[Place]:
        way, after = self._criteria.descending, self._after
        if after is not None:
            places = [each for each in places if each.is_after(after, descending=way)]
        return in_order(places, descending=way)

    def _shown(self, places: list[Place]) -> list[tuple[int, int | None]]:
        return [(place.key, self._stands_for.get(place.key)) for place in places]
