"""``quotas = aws``: the published quotas that stand outside of imports, updates and copies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.server import running

Refused = Callable[..., str]


def test_makes_a_hundred_data_stores_and_no_more(tmp_path: Path, refused: Refused) -> None:
    with running(tmp_path / "data", "--quotas", "aws") as server:
        client = server.client()
        ids = [client.create_datastore(clientToken=f"t{n}")["datastoreId"] for n in range(100)]
        assert "100" in refused("ServiceQuotaExceededException", client.create_datastore)
        # A repeat makes none, and a deleted one counts no more.
        assert client.create_datastore(clientToken="t0")["datastoreId"] == ids[0]
        client.delete_datastore(datastoreId=ids[0])
        client.create_datastore()
        refused("ServiceQuotaExceededException", client.create_datastore)
