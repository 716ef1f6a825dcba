"""The match keys of QIDO-RS as SQL, for both databases.

Tables go by ``t`` (study), ``s`` (primary_series) and ``i`` (primary_instance).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightwell.domain.qido import grams as qido_grams
from lightwell.domain.qido.criteria import (
    INSTANCE,
    SERIES,
    STUDY,
    AllOf,
    AnyOf,
    Empty,
    Match,
    Range,
    Wildcard,
    Words,
)
from lightwell.stores.db.qido_tables import UNNUMBERED

# What a column holds: text, number or folded name; a JSON array of texts, names or codes, or of pairs of
# which one half is compared.
_TEXT, _NUMBER, _NAME, _LIST, _NAMES, _CODES, _STEPS, _PROCEDURES = range(8)

_REQUESTS = "RequestAttributesSequence."
# keyword → level, column, what it holds, whether an index begins with it; those that find fewest rows first.
_COLUMNS: dict[str, tuple[str, str, int, bool]] = {
    "StudyInstanceUID": (STUDY, "t.study_instance_uid", _TEXT, True),
    "SeriesInstanceUID": (SERIES, "s.series_instance_uid", _TEXT, True),
    "SOPInstanceUID": (INSTANCE, "i.sop_instance_uid", _TEXT, True),
    "AccessionNumber": (STUDY, "t.accession_number", _TEXT, True),
    "PatientID": (STUDY, "t.patient_id", _TEXT, True),
    "StudyDate": (STUDY, "t.study_day", _TEXT, True),
    "PatientBirthDate": (STUDY, "t.birth_day", _TEXT, True),
    "PerformedProcedureStepStartDate": (SERIES, "s.performed_day", _TEXT, True),
    "StudyTime": (STUDY, "t.study_clock", _TEXT, True),
    "PatientBirthTime": (STUDY, "t.birth_clock", _TEXT, True),
    "PerformedProcedureStepStartTime": (SERIES, "s.performed_clock", _TEXT, True),
    "Modality": (SERIES, "s.modality", _TEXT, True),
    "SeriesNumber": (SERIES, "s.number", _NUMBER, True),
    "SOPClassUID": (INSTANCE, "i.sop_class_uid", _TEXT, True),
    "WarningReason": (INSTANCE, "i.warnings", _CODES, True),
    "InstanceNumber": (INSTANCE, "i.number", _NUMBER, True),
    _REQUESTS + "ScheduledProcedureStepID": (SERIES, "s.requests", _STEPS, False),
    _REQUESTS + "RequestedProcedureID": (SERIES, "s.requests", _PROCEDURES, False),
    "PatientName": (STUDY, "t.patient_name_folded", _NAME, False),
    "ReferringPhysicianName": (STUDY, "t.referring_physician_name_folded", _NAME, False),
    "StudyID": (STUDY, "t.study_id", _TEXT, False),
    "StudyDescription": (STUDY, "t.study_description", _TEXT, False),
    "ModalitiesInStudy": (STUDY, "t.modalities", _LIST, False),
    "SeriesDate": (SERIES, "s.series_day", _TEXT, True),
    "SeriesTime": (SERIES, "s.series_clock", _TEXT, True),
    "SeriesDescription": (SERIES, "s.series_description", _TEXT, False),
    "ProtocolName": (SERIES, "s.protocol_name", _TEXT, False),
    "OperatorsName": (SERIES, "s.operators_folded", _NAMES, False),
    "PerformingPhysicianName": (SERIES, "s.performing_physicians_folded", _NAMES, False),
    "NameOfPhysiciansReadingStudy": (STUDY, "t.reading_physicians_folded", _NAMES, False),
    "StationName": (SERIES, "s.station_name", _TEXT, False),
    "BodyPartExamined": (SERIES, "s.body_part_examined", _TEXT, False),
    "ManufacturerModelName": (SERIES, "s.manufacturer_model_name", _TEXT, False),
    "InstitutionName": (SERIES, "s.institution_name", _TEXT, False),
    "Manufacturer": (SERIES, "s.manufacturer", _TEXT, False),
    "IssuerOfPatientID": (STUDY, "t.issuer_of_patient_id", _TEXT, False),
    "Laterality": (SERIES, "s.laterality", _TEXT, False),
    "PatientSex": (STUDY, "t.patient_sex", _TEXT, False),
}
# Whether these have a value is told by another column: what is no date or time is a value, too.
_SHOWN = {
    "StudyDate": "t.study_date",
    "StudyTime": "t.study_time",
    "PatientBirthDate": "t.patient_birth_date",
    "PatientBirthTime": "t.patient_birth_time",
    "SeriesDate": "s.series_date",
    "SeriesTime": "s.series_time",
    "PerformedProcedureStepStartDate": "s.performed_date",
    "PerformedProcedureStepStartTime": "s.performed_time",
}
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")  # which always have a value
_OVERLONG = {STUDY: "t.overlong", SERIES: "s.overlong"}
_POSITION = {"sqlite": "instr", "postgresql": "strpos"}

KEYWORDS = tuple(_COLUMNS)
"""All match keys."""

# What separates the words of a name: see `domain.qido.grams`.
_WORDS = {
    "sqlite": "replace(replace(replace('^' || {}, ' ', '^'), '=', '^'), ',', '^')",
    "postgresql": "translate('^' || {}, ' =,', '^^^')",
}
# Whether one of the words is like a pattern. JSON needs no escape for the separator.
_WORD = {
    "sqlite": "EXISTS (SELECT 1 FROM json_each('[' || replace(json_quote({}), '^', '\",\"') || ']') AS w"
    " WHERE w.value GLOB ?)",
    "postgresql": "EXISTS (SELECT 1 FROM unnest(string_to_array({}, '^')) AS w(value) WHERE w.value LIKE %s)",
}
_HALF = {_STEPS: 0, _PROCEDURES: 1}
_GLOB = {"sqlite": "GLOB", "postgresql": "LIKE"}

PLACEHOLDER = {"sqlite": "?", "postgresql": "%s"}
"""How a statement for the driver of a dialect marks each of its parameters."""


@dataclass(frozen=True, slots=True)
class SqlCondition:
    """One match, as SQL. ``filter`` is the same, written so that no index is used for it.

    ``indexed``: an index finds what meets it. Else ``grams`` is a query of the grams of ``grams_level`` that
    finds it, if there is one, and ``rare`` tells whether it usually finds few: 2 yes, 1 perhaps, 0 hardly.
    """

    keyword: str
    level: str
    sql: str
    filter: str
    parameters: tuple[Any, ...]
    indexed: bool
    grams: str | None
    grams_level: str
    rare: int


def conditions(dialect: str, datastore: int, matches: Sequence[tuple[str, Match]]) -> list[SqlCondition]:
    """All conditions, the one that usually finds the fewest rows first."""
    order = {keyword: place for place, keyword in enumerate(KEYWORDS)}
    return [
        _condition(dialect, datastore, keyword, match)
        for keyword, match in sorted(matches, key=lambda pair: order[pair[0]])
    ]


def _condition(dialect: str, datastore: int, keyword: str, match: Match) -> SqlCondition:
    level, column, holds, indexed = _COLUMNS[keyword]
    grams_level = SERIES if keyword in qido_grams.SERIES_LETTERS else STUDY
    plus = "+" if dialect == "sqlite" else ""
    parameters: tuple[Any, ...] = ()
    if isinstance(match, Empty):
        sql, unindexed = (
            _without_value(dialect, keyword, column),
            _without_value(dialect, keyword, column, plus),
        )
        indexed = level == INSTANCE or keyword in _UIDS
    else:
        sql, parameters = _matching(dialect, column, holds, match)
        unindexed = _matching(dialect, plus + column, holds, match)[0]
        if isinstance(match, Wildcard | Words):
            indexed = False
        if holds == _CODES:
            sql = f"{column} IS NOT NULL AND {sql}"
    text, rare = (None, 0) if indexed else _gram_query(dialect, datastore, keyword, match)
    return SqlCondition(keyword, level, sql, unindexed, parameters, indexed, text, grams_level, rare)


def _without_value(dialect: str, keyword: str, column: str, plus: str = "") -> str:
    """SQL for "the attribute has no value"; a text that is only too long for its column is one."""
    level, _, holds, _ = _COLUMNS[keyword]
    if keyword in _UIDS:
        return f"{plus}{column} = ''"
    if holds == _NUMBER:
        return f"{plus}{column} = {UNNUMBERED}"
    if holds in (_STEPS, _PROCEDURES):
        each, value = _elements(dialect, column, holds)
        return f"NOT EXISTS (SELECT 1 FROM {each} WHERE {value} IS NOT NULL)"
    column = _SHOWN.get(keyword, column)
    sql = f"{plus}{column} IS NULL"
    if holds == _NAME:
        sql = f"({sql} OR {column} = '')"
    if level in _OVERLONG:
        found = f"{_POSITION[dialect]}({_OVERLONG[level]}, '\"{keyword}\"')"
        sql = f"({sql} AND ({_OVERLONG[level]} IS NULL OR {found} = 0))"
    return sql


def _elements(dialect: str, column: str, holds: int) -> tuple[str, str]:
    """A JSON array as a table with an alias, and what is compared of each of its elements."""
    if dialect == "sqlite":
        value = f"json_extract(e.value, '$[{_HALF[holds]}]')" if holds in _HALF else "e.value"
        return f"json_each({column}) AS e", value
    if holds in _HALF:
        return f"jsonb_array_elements(CAST({column} AS jsonb)) AS e(value)", f"e.value ->> {_HALF[holds]}"
    return f"jsonb_array_elements_text(CAST({column} AS jsonb)) AS e(value)", "e.value"


def _matching(dialect: str, column: str, holds: int, match: Match) -> tuple[str, tuple[Any, ...]]:
    if isinstance(match, AllOf):
        every = [_matching(dialect, column, holds, AnyOf((value,))) for value in match.values]
        return f"({' AND '.join(sql for sql, _ in every)})", tuple(p for _, own in every for p in own)
    if holds == _NAME:
        return _name(dialect, column, match)
    if holds in (_TEXT, _NUMBER):
        return _value(dialect, column, match, holds)
    each, value = _elements(dialect, column, holds)
    if holds == _NAMES:
        sql, parameters = _name(dialect, value, match)
    else:
        number = _NUMBER if holds == _CODES and dialect == "sqlite" else _TEXT
        sql, parameters = _value(dialect, value, match, number)
    return f"EXISTS (SELECT 1 FROM {each} WHERE {sql})", parameters


def _value(dialect: str, value: str, match: Match, holds: int) -> tuple[str, tuple[Any, ...]]:
    placeholder = PLACEHOLDER[dialect]
    if isinstance(match, AnyOf):
        wanted = tuple(int(text) if holds == _NUMBER else text for text in match.values)
        if len(wanted) == 1:
            return f"{value} = {placeholder}", wanted
        return f"{value} IN ({', '.join([placeholder] * len(wanted))})", wanted
    if isinstance(match, Range):
        ends = [(">=", match.low), ("<=", match.high)]
        parts = [f"{value} {sign} {placeholder}" for sign, end in ends if end is not None]
        return " AND ".join(parts) or f"{value} IS NOT NULL", tuple(e for _, e in ends if e is not None)
    assert isinstance(match, Wildcard), f"{value} holds no names"
    return f"{value} {_GLOB[dialect]} {placeholder}", (_pattern(dialect, match.pattern),)


def _name(dialect: str, column: str, match: Match) -> tuple[str, tuple[Any, ...]]:
    """By the whole name or one of its groups: alphabetic, ideographic, phonetic (PS3.5 §6.2.1.1)."""
    glob, column = f"{_GLOB[dialect]} {PLACEHOLDER[dialect]}", column.removeprefix("+")
    if isinstance(match, Words):
        value = _WORDS[dialect].format(column)
        some = [_word(dialect, value, glob, word) for word in match.words]
    else:
        assert isinstance(match, Wildcard | AnyOf)
        wanted = (match.pattern,) if isinstance(match, Wildcard) else map(_literal, match.values)
        some = [(f"'=' || {column} || '=' {glob}", f"*={pattern}=*") for pattern in wanted]
    alternatives = " OR ".join(sql for sql, _ in some)
    return f"({alternatives})", tuple(_pattern(dialect, pattern) for _, pattern in some)


def _word(dialect: str, value: str, glob: str, word: str) -> tuple[str, str]:
    """SQL for "a word begins with ``word``", and its pattern; ``value`` has ``^`` before each word."""
    if not (set("*?") & set(word)):
        return f"{value} {glob}", f"*^{word}*"
    if not (set("*?") & set(word[1:])) and word[0] == "*":
        return f"{value} {glob}", f"{word}*"
    return _WORD[dialect].format(value), f"{word}*"


def _literal(text: str) -> str:
    """Text without wildcard characters: a query cannot ask for these characters themselves."""
    return text.replace("*", "").replace("?", "")


def _pattern(dialect: str, pattern: str) -> str:
    """A pattern with ``*`` and ``?``, as the database writes patterns."""
    if dialect == "sqlite":
        return pattern.replace("[", "[[]")
    for special in "\\%_":
        pattern = pattern.replace(special, "\\" + special)
    return pattern.replace("*", "%").replace("?", "_")


def _gram_query(dialect: str, datastore: int, keyword: str, match: Match) -> tuple[str | None, int]:
    wanted = qido_grams.gram_prefixes(datastore, keyword, match)
    if wanted is None:
        return None, 0
    rare = (
        2 if any(all(map(qido_grams.is_full_length, some)) for some in wanted) else qido_grams.is_rare(wanted)
    )
    if dialect == "sqlite":
        return " AND ".join(f"({' OR '.join(map(_fts, some))})" for some in wanted), rare
    return " & ".join(f"({' | '.join(map(_tsquery, some))})" for some in wanted), rare


def gram_query(dialect: str, wanted: Sequence[Sequence[Sequence[Sequence[str]]]]) -> str:
    """A query of the grams. ``wanted``: all of these, each in one of some ways, which are what
    `qido_grams.gram_prefixes` returns."""
    both, either, one = (" AND ", " OR ", _fts) if dialect == "sqlite" else (" & ", " | ", _tsquery)

    def of_way(way: Sequence[Sequence[str]]) -> str:
        return f"({both.join(f'({either.join(map(one, some))})' for some in way)})"

    return both.join(f"({either.join(map(of_way, ways))})" for ways in wanted)


def _fts(gram: str) -> str:
    return f'"{gram}"' + ("" if qido_grams.is_full_length(gram) else " *")


def _tsquery(gram: str) -> str:
    return f"'{gram}'" + ("" if qido_grams.is_full_length(gram) else ":*")
