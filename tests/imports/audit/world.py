"""A server with some patients, whose audit trail is kept in memory."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.credentials import Credentials

from lightwell.auth.principals import create_key, ensure_root
from lightwell.auth.secret_box import create_secret_key, open_secret_box
from lightwell.codec_pool.client import CodecPoolClient
from lightwell.observe.audit.record import AuditRecord
from tests.support.ct_files import ROOT, write_series
from tests.support.imports import Importing, importing
from tests.unit.web.audit.audited import Answer, Audited, ask, audited, signed

Members = dict[str, Any]
JSON = {"content_type": "application/json"}
ROOT_ARN = "arn:aws:iam::000000000000:root"
STUDY, SERIES, INSTANCE = f"{ROOT}.1", f"{ROOT}.1.1", f"{ROOT}.1.1.1"
AS_STORED = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
NOBODY = "0" * 32


@dataclass(frozen=True, slots=True)
class World:
    """A server with data; ``sets`` are the ids of image sets by the name of their series."""

    trail: Audited
    store: str
    sets: dict[str, str]
    root: Credentials
    frame: str
    secret_of: Callable[[str, str], Credentials]

    def ask(
        self, method: str, url: str, body: Any = None, key: Credentials | None = None, **more: Any
    ) -> tuple[Answer, list[AuditRecord]]:
        """The answer to a request by root, and what is on record of it."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        answer = ask(self.trail.gateway, signed(key or self.root, method, url, data, **more))
        return answer, self.trail.after(answer)


@contextmanager
def a_world(folder: Path, database_url: str) -> Iterator[World]:
    create_secret_key(folder / "data")
    server: Importing = importing(folder / "data", database_url)
    box = open_secret_box(None, server.settings.data)
    made, _ = ensure_root(server.stores.db, box, None, 1)
    for number in range(1, 7):
        write_series(server.input / "in" / str(number), 1, study=str(number), PatientID=f"P{number}")
    sets = {
        each["seriesInstanceUID"]: each["imageSetId"]
        for each in _sets(server, server.run("in/").manifest["imageSetsSummary"])
    }
    server.close_engine()
    with audited(server.settings) as trail:
        trail.gateway.state.pool = CodecPoolClient(server.settings.data, exists=False)
        root = Credentials(made.access_key_id, made.secret_access_key)

        def secret_of(name: str, policy: str) -> Credentials:
            key = create_key(server.stores.db, box, name, 1, [policy])
            return Credentials(key.access_key_id, key.secret_access_key)

        world = World(trail, server.datastore, sets, root, "", secret_of)
        yield _with_frame(world)
    server.close()


def _sets(server: Importing, summary: list[Any]) -> Iterator[Any]:
    from lightwell.stores.image_sets import lookups

    with server.stores.db.read() as conn:
        for each in summary:
            found = lookups.find(conn, each["imageSetId"])
            assert found is not None
            yield {"imageSetId": found[1].id, "seriesInstanceUID": found[1].series_instance_uid}


def _with_frame(world: World) -> World:
    url = f"/datastore/{world.store}/imageSet/{world.sets[SERIES]}/getImageSetMetadata"
    answer, _ = world.ask("POST", url)
    document = json.loads(gzip.decompress(answer.body))
    (instance,) = document["Study"]["Series"][SERIES]["Instances"].values()
    return World(
        world.trail,
        world.store,
        world.sets,
        world.root,
        instance["ImageFrames"][0]["ID"],
        world.secret_of,
    )


def of(world: World, number: int = 1) -> Members:
    """Whom the set of one study is about."""
    return {
        "store": world.store,
        "image_set": world.sets[f"{ROOT}.{number}.1"],
        "patient": f"P{number}",
        "study": f"{ROOT}.{number}",
        "series": f"{ROOT}.{number}.1",
    }


def members(record: AuditRecord, expected: Members) -> Members:
    return {name: getattr(record, name) for name in expected}
