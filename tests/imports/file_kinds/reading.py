"""Files of many kinds, imported in one job, and what the operations then say of each."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from lightwell.clock import Clock
from lightwell.documents.part10_files import write_instance
from lightwell.domain.keys import ImageSetKey
from lightwell.operations.get_image_frame import FrameReader
from lightwell.operations.get_image_set_metadata import get_image_set_metadata
from lightwell.stores.db import tables
from lightwell.stores.image_sets import part10_instances
from lightwell.wire import shapes
from tests.support.imports import Importing, Report, importing


@dataclass(slots=True)
class ImportedInstance:
    """One instance: its own object of the document, all attributes of it, and the set that it is in."""

    instance: dict[str, Any]
    attributes: dict[str, Any]
    image_set: str
    key: ImageSetKey


@dataclass(slots=True)
class ImportedFiles:
    server: Importing
    report: Report
    found: dict[str, ImportedInstance]
    reader: FrameReader

    def frames(self, uid: str) -> list[bytes]:
        """What GetImageFrame gives of each frame of the document."""
        found = self.found[uid]
        frames = []
        for entry in found.instance["ImageFrames"]:
            place = self.reader.locate(self.server.datastore, found.image_set, entry["ID"])
            frames.append(self.reader.read(place, 0, place.length))
        return frames

    def exported(self, uid: str) -> bytes:
        """The Part 10 file that an export writes."""
        stores = self.server.stores
        with stores.db.read() as conn:
            (instance,) = part10_instances.instances(conn, self.found[uid].key, 1)
        out = io.BytesIO()
        write_instance(stores, instance, out)
        return out.getvalue()

    def warnings(self, name: str) -> list[str]:
        """Types of the warnings of a file."""
        lines = [line for line in self.report.warning if line["inputFile"] == name]
        return [warning["type"] for line in lines for warning in line["importResponse"]["warnings"]]


@contextmanager
def imported(folder: Path, url: str, files: Iterable[tuple[str, bytes]]) -> Iterator[ImportedFiles]:
    """Import ``files``, of which each must be a series of its own."""
    server = importing(folder, url)
    try:
        for name, data in files:
            (server.input / name).write_bytes(data)
        report = server.run()
        yield ImportedFiles(server, report, _found(server), FrameReader(server.stores, Clock()))
    finally:
        server.close()


def _found(server: Importing) -> dict[str, ImportedInstance]:
    found: dict[str, ImportedInstance] = {}
    with server.stores.db.read() as conn:
        sets = list(conn.execute(select(tables.image_set.c.id, tables.image_set.c.key)))
    for image_set, key in sets:
        request = shapes.GetImageSetMetadataRequest(datastore_id=server.datastore, image_set_id=image_set)
        blob = get_image_set_metadata(server.context, request).image_set_metadata_blob
        assert isinstance(blob, bytes)
        document = json.loads(gzip.decompress(blob))
        study = document["Study"]
        (series,) = study["Series"].values()
        for uid, instance in series["Instances"].items():
            levels = (document["Patient"], study, series, instance)
            attributes = {key: value for level in levels for key, value in level["DICOM"].items()}
            assert uid not in found
            found[uid] = ImportedInstance(instance, attributes, image_set, key)
    return found
