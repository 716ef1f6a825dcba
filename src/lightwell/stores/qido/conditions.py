"""The match keys of QIDO-RS as SQL, for both databases.

Tables go by ``t`` (study), ``s`` (primary_series) and ``i`` (primary_instance).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightwell.domain.qido import grams as qido_grams
from lightwell.domain.qido.criteria import INSTANCE, SERIES, STUDY, AnyOf, Match, Range, Wildcard, Words

# What a column holds: text, number or folded name; a JSON array of texts or codes, or of pairs of which one
# half is compared.
_TEXT, _NUMBER, _NAME, _LIST, _CODES, _STEPS, _PROCEDURES = range(7)

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
}
KEYWORDS = tuple(_COLUMNS)
"""All match keys."""

# What separates the words of a name: see `domain.qido.grams`.
_WORDS = {
    "sqlite": "replace(replace(replace('^' || {}, ' ', '^'), '=', '^'), ',', '^')",
    "postgresql": "translate('^' || {}, ' =,', '^^^')",
}
# Whether one of the words is like a pattern. JSON needs no escape for the separator.
_WORD = {
    "sqlite": "EXISTS (SELECT 1 FROM json_each('[' || replace(json_quote({}), '^', '\",\"') || ']') AS e"
    " WHERE e.value GLOB ?)",
    "postgresql": "EXISTS (SELECT 1 FROM unnest(string_to_array({}, '^')) AS e(value) WHERE e.value LIKE %s)",
}
_GLOB = {"sqlite": "GLOB", "postgresql": "LIKE"}

PLACEHOLDER = {"sqlite": "?", "postgresql": "%s"}
"""How a statement for the driver of a dialect marks each of its parameters."""


@dataclass(frozen=True, slots=True)
class SqlCondition:
    """One match, as SQL. ``filter`` is the same, written so that no index is used for it.

    ``indexed``: an index finds what meets it. ``grams`` is a query of ``study_grams`` that finds it, if
    there is one, and ``rare`` tells whether it usually finds few studies: 2 yes, 1 perhaps, 0 hardly.
    """

    keyword: str
    level: str
    sql: str
    filter: str
    parameters: tuple[Any, ...]
    indexed: bool
    grams: str | None
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
    sql, parameters = _matching(dialect, column, holds, match)
    unindexed = "+" + column if dialect == "sqlite" else column
    text, rare = _gram_query(dialect, datastore, keyword, match)
    if isinstance(match, Wildcard | Words):
        indexed = False
    if holds == _CODES:
        sql = f"{column} IS NOT NULL AND {sql}"
    return SqlCondition(
        keyword, level, sql, _matching(dialect, unindexed, holds, match)[0], parameters, indexed, text, rare
    )


def _matching(dialect: str, column: str, holds: int, match: Match) -> tuple[str, tuple[Any, ...]]:
    if holds == _NAME:
        return _name(dialect, column, match)
    if holds in (_TEXT, _NUMBER):
        return _value(dialect, column, match, holds)
    if holds in (_STEPS, _PROCEDURES):
        half = 0 if holds == _STEPS else 1
        value = f"json_extract(e.value, '$[{half}]')" if dialect == "sqlite" else f"e.value ->> {half}"
    else:
        value = "e.value"
    each = f"json_each({column})"
    if dialect == "postgresql":
        function = "jsonb_array_elements" if value != "e.value" else "jsonb_array_elements_text"
        each = f"{function}(CAST({column} AS jsonb))"
    number = _NUMBER if holds == _CODES and dialect == "sqlite" else _TEXT
    sql, parameters = _value(dialect, value, match, number)
    return (
        f"EXISTS (SELECT 1 FROM {each} AS e{'' if dialect == 'sqlite' else '(value)'} WHERE {sql})",
        parameters,
    )


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
        assert not isinstance(match, Range)
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


def _fts(gram: str) -> str:
    return f'"{gram}"' + ("" if qido_grams.is_full_length(gram) else " *")


def _tsquery(gram: str) -> str:
    return f"'{gram}'" + ("" if qido_grams.is_full_length(gram) else ":*")
