"""The columns of the search index that come from `SearchColumns.further`, for the optional match keys."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from lightwell.domain.image_sets.search_columns import OVERLONG, clock, day
from lightwell.domain.qido.attributes import MATCH_KEYS
from lightwell.domain.qido.criteria import SERIES, STUDY
from lightwell.domain.qido.grams import fold_name

_OF_SERIES = {
    "Manufacturer": "manufacturer",
    "InstitutionName": "institution_name",
    "StationName": "station_name",
    "ManufacturerModelName": "manufacturer_model_name",
    "ProtocolName": "protocol_name",
    "Laterality": "laterality",
    "PerformingPhysicianName": "performing_physicians",
    "OperatorsName": "operators",
    "SeriesDate": "series_date",
    "SeriesTime": "series_time",
}
_OF_STUDY = {
    "IssuerOfPatientID": "issuer_of_patient_id",
    "NameOfPhysiciansReadingStudy": "reading_physicians",
}


def series_columns(further: str | None) -> dict[str, str | None]:
    """Those of a series; ``further`` is that of its image set."""
    found = {} if further is None else json.loads(further)
    values = {name: found.get(keyword) for keyword, name in _OF_SERIES.items()}
    return values | {
        "performing_physicians_folded": _folded_names(values["performing_physicians"]),
        "operators_folded": _folded_names(values["operators"]),
        "series_day": day(values["series_date"]),
        "series_clock": clock(values["series_time"]),
        "overlong": _overlong(found, SERIES),
    }


def study_columns(further: str | None) -> dict[str, str | None]:
    """Those of a study; ``further`` is that of its oldest primary set."""
    found = {} if further is None else json.loads(further)
    values = {name: found.get(keyword) for keyword, name in _OF_STUDY.items()}
    return values | {
        "reading_physicians_folded": _folded_names(values["reading_physicians"]),
        "overlong": _overlong(found, STUDY),
    }


def _overlong(further: Mapping[str, Any], level: str) -> str | None:
    return _array(keyword for keyword in further.get(OVERLONG, ()) if MATCH_KEYS[keyword].level == level)


def _folded_names(names: str | None) -> str | None:
    """JSON of the names in the form in which they are compared."""
    return None if names is None else _array(name for name in map(fold_name, names.split("\\")) if name)


def _array(values: Iterable[str]) -> str | None:
    found = list(dict.fromkeys(values))
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")) if found else None
