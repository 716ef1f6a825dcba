from __future__ import annotations

import json

from lightwell.domain.qido.grams import MOST_GRAMS, grams


def test_stops_before_a_study_has_more_grams_than_postgresql_keeps() -> None:
    many = json.dumps([f"\U0001f600{number:07}\U0001f600" for number in range(MOST_GRAMS)])
    found = grams(
        1, {"PatientName": "Somebody", "RequestAttributesSequence.RequestedProcedureID": many}
    ).split(" ")
    assert MOST_GRAMS - 20 < len(found) <= MOST_GRAMS
    assert sum(len(gram.encode()) for gram in found) < 1 << 20
    assert any("someb" in gram for gram in found)
