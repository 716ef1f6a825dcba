"""One server with one small data store for all tests of retrieval.

``held`` is that data store, made once a session; tests must not change it.
`tests.dicomweb.support.sample_datastore` says what it holds and how to ask.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dicomweb.support.sample_datastore import Holding, fill
from tests.support.server import running


@pytest.fixture(scope="session")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Holding]:
    """A running server with a data store to read from."""
    with running(tmp_path_factory.mktemp("held") / "data") as server:
        yield fill(server)
