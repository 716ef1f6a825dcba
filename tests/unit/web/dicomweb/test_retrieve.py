"""In which form instances are sent, by the Accept header and the setting."""

from __future__ import annotations

from typing import Any

import pytest

from lightwell.errors import NotAcceptableError
from lightwell.web.dicomweb import retrieve
from lightwell.web.dicomweb.media import by_preference


@pytest.fixture(autouse=True)
def everything_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "lightwell.operations.dicomweb.retrieve.select_instances", lambda found, wanted, *, alone: list(found)
    )


def _in_parts(accept: str, count: int, *, prefers_parts: bool = False) -> bool:
    found: Any = [object()] * count
    accepted = by_preference(accept) if accept else ()
    return retrieve._choose(accepted, found, alone=count == 1, prefers_parts=prefers_parts)[0]


@pytest.mark.parametrize("prefers_parts", [False, True])
def test_follows_the_setting_where_the_client_accepts_anything(prefers_parts: bool) -> None:
    for accept in ("", "*/*", "text/html, */*;q=0.1", "*"):
        assert _in_parts(accept, 1, prefers_parts=prefers_parts) is prefers_parts
        assert _in_parts(accept, 2, prefers_parts=prefers_parts)
    for accept in ("application/dicom", "application/*", "application/dicom, */*;q=0.5"):
        assert not _in_parts(accept, 1, prefers_parts=prefers_parts)
    for accept in ("multipart/related", 'multipart/related; type="application/dicom"; transfer-syntax=*'):
        assert _in_parts(accept, 1, prefers_parts=prefers_parts)


def test_does_not_send_what_is_refused() -> None:
    assert not _in_parts("*/*, multipart/related;q=0", 1, prefers_parts=True)
    with pytest.raises(NotAcceptableError):
        _in_parts("*/*, multipart/related;q=0", 2)
    with pytest.raises(NotAcceptableError):
        _in_parts("application/*, application/dicom;q=0", 1)
