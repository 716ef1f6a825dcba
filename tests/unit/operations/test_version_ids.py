"""Version ids of requests."""

from __future__ import annotations

import pytest

from lightwell.domain.image_sets.image_set import ImageSet
from lightwell.domain.keys import ImageSetKey, StudyKey
from lightwell.domain.states import ImageSetState, Origin
from lightwell.errors import NotFoundError
from lightwell.operations.version_ids import NO_VERSION, existing_version, readable_version, version_number

IMAGE_SET = ImageSet(
    key=ImageSetKey(1),
    id="a" * 32,
    datastore=2,
    study=StudyKey(3),
    series_instance_uid="1.2",
    origin=Origin.IMPORT,
    is_primary=True,
    state=ImageSetState.ACTIVE,
    latest_version=2,
    readable_version=1,
    created_at=0,
    updated_at=0,
    deleted_at=None,
    last_accessed_at=0,
)


def test_reads_decimal_text_of_any_length() -> None:
    assert [version_number(text) for text in ("2", "002", "0" * 30 + "7", "999999999")] == [
        2,
        2,
        7,
        999999999,
    ]
    assert {
        version_number(text)
        for text in ("0", "", "1000000000", "9" * 18, "x", "1.0", "-1", " 1", "1_0", "\u0661", "²")
    } == {NO_VERSION}


def test_knows_failed_versions_too() -> None:
    assert (existing_version("2", IMAGE_SET), existing_version(1, IMAGE_SET)) == (2, 1)
    for version in ("3", "0", "9" * 30, 0):
        with pytest.raises(NotFoundError, match="no version"):
            existing_version(version, IMAGE_SET)


def test_asks_for_the_newest_version_with_content() -> None:
    assert readable_version(None, IMAGE_SET) == readable_version("1", IMAGE_SET) == 1
    with pytest.raises(NotFoundError, match=r"Version 2 of image set a+ has no content"):
        readable_version("2", IMAGE_SET)
    with pytest.raises(NotFoundError, match="no version 3"):
        readable_version("3", IMAGE_SET)
