"""Which instance stands for an image set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lightwell.stores import Stores
from lightwell.stores.image_sets import representative
from tests.support import image_set_builders
from tests.support.image_set_builders import BuiltInstance, BuiltSet


@pytest.fixture
def stores(database_url: str, tmp_path: Path) -> Iterator[Stores]:
    found = image_set_builders.open_at(tmp_path, database_url)
    yield found
    found.close()


def chosen(stores: Stores, built: BuiltSet, version: int = 1) -> tuple[str | None, str | None]:
    with stores.db.read() as conn:
        return (
            representative.middle_image(conn, built.key, version),
            representative.first_member(conn, built.key, version),
        )


def test_takes_the_image_in_the_middle_by_instance_number(stores: Stores) -> None:
    given = [("1.9", None), ("1.4", 40), ("1.1", 10), ("1.3", 30), ("1.2", 20)]
    images = [BuiltInstance(uid, number, frames=[b"x"]) for uid, number in given]
    others = [
        BuiltInstance("1.0", 1),
        BuiltInstance("1.5", 25, frames=[b"x"], split=False),
        BuiltInstance("1.6", 26, frames=[b"x"], from_version=2),
    ]
    built = image_set_builders.image_set(stores, [*images, *others], versions=[{}, {}])
    assert chosen(stores, built) == ("1.3", "1.0")
    assert chosen(stores, built, 2) == ("1.3", "1.0")


def test_knows_of_sets_without_images(stores: Stores) -> None:
    built = image_set_builders.image_set(stores, [BuiltInstance("1.2", 2), BuiltInstance("1.1", 1)])
    assert chosen(stores, built) == (None, "1.1")
    assert chosen(stores, built, 7) == (None, "1.1")
