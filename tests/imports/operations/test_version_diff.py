"""The difference between two versions, part after part."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from sqlalchemy import update

from lightwell.operations import version_diff
from lightwell.operations.console.image_set_diff import Difference, diff
from lightwell.stores.db import tables
from tests.support.ct_files import write_series
from tests.support.imports import Importing


def test_goes_on_where_the_last_part_ended(server: Importing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without looking for everything that may differ again."""
    write_series(server.input / "a", 2)
    server.run("a/")
    write_series(server.input / "b", 7)
    (first, *_) = server.run("b/").success
    image_set = first["importResponse"]["imageSetId"]
    search = Mock(wraps=version_diff._candidates)
    monkeypatch.setattr(version_diff, "_candidates", search)

    def part(token: str | None, most: int, versions: tuple[str, str] = ("1", "2")) -> Difference:
        return diff(server.context, server.datastore, image_set, versions, next_token=token, most=most)

    whole = part(None, 100).page
    assert (len(whole.instances), whole.added, whole.removed) == (5, 5, 0)
    assert (whole.old_count, whole.new_count, whole.next_start) == (2, 7, None)
    parts, token = [part(None, 2)], None
    while (token := parts[-1].next_token) is not None:
        parts.append(part(token, 2))
    assert [len(each.page.instances) for each in parts] == [2, 2, 1]
    assert tuple(each for one in parts for each in one.page.instances) == whole.instances
    assert {(each.page.added, each.page.new_count) for each in parts} == {(5, 7)}
    assert [len(each.versions) for each in parts] == [1, 0, 0]
    assert search.call_count == 1
    # The other way round is another difference.
    assert part(None, 100, ("2", "1")).page.removed == 5 and search.call_count == 2
    # And so is that from another version of the same number, which came after the first one was lost.
    server.stores.db.write(lambda conn: conn.execute(update(tables.version).values(mark=7)))
    assert part(None, 100).page.added == 5 and search.call_count == 3
