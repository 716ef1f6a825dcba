"""One server with one small data store for all tests of retrieval.

``sample`` is that data store, made once a session; tests must not change it.
`tests.dicomweb.support.sample_datastore` says what it holds and how to ask.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dicomweb.support.sample_datastore import SampleDatastore, fill
from tests.support.server import running


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleDatastore]:
    """A running server with a data store to read from."""
    with running(tmp_path_factory.mktemp("sample") / "data") as server:
        yield fill(server)
