"""A small store of many kinds, all that it can be asked, and single bits of its files turned."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from sqlalchemy import select

from lightwell.documents import metadata_documents
from lightwell.documents.part10_files import write_instance
from lightwell.domain.image_sets.frame_table import frame_id
from lightwell.operations.context import Context
from lightwell.operations.copy_image_set import copy_image_set
from lightwell.operations.dicomweb import metadata, search
from lightwell.operations.dicomweb.lookup import DicomwebTarget
from lightwell.operations.get_image_frame import FrameReader
from lightwell.operations.get_image_set_metadata import get_image_set_metadata
from lightwell.operations.search_image_sets import search_image_sets
from lightwell.operations.update_image_set_metadata import update_image_set_metadata
from lightwell.stores import Stores, open_stores
from lightwell.stores.account import datastores as store_rows
from lightwell.stores.data_folder.document_cache import DocumentCache
from lightwell.stores.db import tables
from lightwell.stores.image_sets import part10_instances
from lightwell.wire import shapes
from tests.support.ct_files import ct, write, write_series
from tests.support.imports import Importing

SAMPLES = ("SC_rgb_jpeg_dcmtk.dcm", "examples_ybr_color.dcm", "reportsi.dcm", "liver_1frame.dcm")
_PATIENT = {"SchemaVersion": 1.1, "Patient": {"DICOM": {"PatientName": "EDITED^NAME"}}}


def fill(server: Importing) -> None:
    """Slices of several patients, colour, many frames, one bit, a report; edited, copied."""
    write_series(server.input / "a", 3)
    for number in range(6):
        write(server.input / f"p{number}" / "x.dcm", ct(number, study=f"5{number}", PatientID=f"P{number}"))
        server.run(f"p{number}/")
    for name in SAMPLES:
        path = server.input / "samples" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(Path(str(get_testdata_file(name))).read_bytes())
        assert pydicom.dcmread(path).SOPInstanceUID
    server.run("a/")
    server.run("samples/")
    second = min(sets_of(server.stores))
    made = copy_image_set(
        server.context,
        shapes.CopyImageSetRequest(
            datastore_id=server.datastore,
            source_image_set_id=second,
            copy_image_set_information=shapes.CopyImageSetInformation(
                source_image_set=shapes.CopySourceImageSetInformation(latest_version_id="1")
            ),
        ),
    )
    update_image_set_metadata(
        server.context,
        shapes.UpdateImageSetMetadataRequest(
            datastore_id=server.datastore,
            image_set_id=made.destination_image_set_properties.image_set_id,
            latest_version_id="1",
            update_image_set_metadata_updates=shapes.MetadataUpdates(
                dicom_updates=shapes.DICOMUpdates(updatable_attributes=json.dumps(_PATIENT).encode())
            ),
        ),
    )


def sets_of(stores: Stores) -> list[str]:
    with stores.db.read() as conn:
        return list(conn.execute(select(tables.image_set.c.id)).scalars())


@dataclass(slots=True)
class Asked:
    """All questions, and what was answered when nothing was damaged. They are asked with nothing cached."""

    server: Importing
    documents: Path
    questions: dict[str, Callable[[Context], bytes]] = field(default_factory=dict)
    golden: dict[str, bytes] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)

    def prepare(self) -> None:
        """Find out what there is to ask, and what is answered."""
        store = self.server.datastore
        t = tables
        with self.server.stores.db.read() as conn:
            sets = conn.execute(select(t.image_set)).all()
            frames = conn.execute(
                select(t.image_set.c.id, t.member.c.pixels, t.pixels.c.frame_count)
                .join(t.member, t.member.c.image_set == t.image_set.c.key)
                .join(t.pixels, t.pixels.c.key == t.member.c.pixels)
                .where(t.member.c.valid_to.is_(None))
            ).all()
        for row in sets:
            for version in range(1, row.latest_version + 1):
                self.questions[f"document {row.id} {version}"] = _document(store, row.id, str(version))
            self.questions[f"files {row.id}"] = _files(store, row.id)
            if row.is_primary:
                target = DicomwebTarget(store, row.study_instance_uid, row.series_instance_uid)
                self.questions[f"series {row.id}"] = _series(target)
        for id, pixels, count in frames:
            for number in range(count or 0):
                self.questions[f"frame {id} {pixels} {number}"] = _frame(store, id, frame_id(pixels, number))
        for level in ("studies", "series", "instances"):
            for key, value in (
                ("", ""),
                ("PatientID", "P1"),
                ("PatientName", "*E*"),
                ("StudyDate", "19000101-"),
            ):
                parameters = [(key, value)] if key else []
                self.questions[f"{level} {key}"] = _search(
                    store, level, [*parameters, ("includefield", "all")]
                )
        self.questions["sets"] = _sets(store)
        self.golden = self.ask()
        unanswered = [name for name, answer in self.golden.items() if not answer]
        assert not unanswered, f"not answered: {unanswered[:5]}, {dict(self.outcomes)}"

    def ask(self) -> dict[str, bytes]:
        """The answers, "" where it is refused. What is refused by an error that nobody foresaw is counted."""
        found: dict[str, bytes] = {}
        settings = self.server.settings
        stores = open_stores(settings)
        stores = replace(stores, documents=DocumentCache(self.documents))
        ctx = replace(self.server.context, stores=stores)
        metadata_documents.recent_documents = metadata_documents.RecentDocuments(64 << 20)
        try:
            for name, question in self.questions.items():
                try:
                    found[name] = question(ctx)
                except Exception as error:
                    found[name] = b""
                    self.outcomes[f"{type(error).__name__}: {str(error)[:60]}"] += 1
        finally:
            # When a set was last read cannot be noted in a damaged table.
            with contextlib.suppress(Exception):
                stores.close()
            stores.db.close()
            stores.objects.close()
        return found

    def check(self, what: str) -> int:
        """Assert that each answer is the right one or none; how many are none."""
        answers = self.ask()
        wrong = [name for name, answer in answers.items() if answer and answer != self.golden[name]]
        assert not wrong, f"{what}: {wrong[:3]} were answered with other bytes"
        return sum(not answer for answer in answers.values())


def _document(store: str, id: str, version: str) -> Callable[[Context], bytes]:
    request = shapes.GetImageSetMetadataRequest(datastore_id=store, image_set_id=id, version_id=version)
    return lambda ctx: gzip.decompress(get_image_set_metadata(ctx, request).image_set_metadata_blob)


def _files(store: str, id: str) -> Callable[[Context], bytes]:
    def answer(ctx: Context) -> bytes:
        with ctx.stores.db.read() as conn:
            found = store_rows.get(conn, store)
            assert found is not None
            (one,) = part10_instances.readable_sets(conn, found.key, id)
            instances = part10_instances.instances(conn, one.key, one.version)
        out = io.BytesIO()
        for instance in instances:
            write_instance(ctx.stores, instance, out)
        return out.getvalue()

    return answer


def _series(target: DicomwebTarget) -> Callable[[Context], bytes]:
    def answer(ctx: Context) -> bytes:
        found = metadata.find_image_sets(ctx, target)
        return gzip.decompress(metadata.gzipped_metadata(ctx, target, found))

    return answer


def _frame(store: str, id: str, frame: str) -> Callable[[Context], bytes]:
    def answer(ctx: Context) -> bytes:
        reader = FrameReader(ctx.stores, ctx.clock)
        place = reader.locate(store, id, frame)
        return reader.read(place, 0, place.length)

    return answer


def _search(store: str, level: str, parameters: list[tuple[str, str]]) -> Callable[[Context], bytes]:
    operations = {
        "studies": "SearchDICOMStudies",
        "series": "SearchDICOMAllSeries",
        "instances": "SearchDICOMAllInstances",
    }
    request = search.SearchRequest(
        operation=operations[level],
        datastore_id=store,
        study=None,
        series=None,
        parameters=parameters,
        base="http://x",
    )
    return lambda ctx: search.search(ctx, request).body


def _sets(store: str) -> Callable[[Context], bytes]:
    request = shapes.SearchImageSetsRequest(datastore_id=store, max_results=50)

    def answer(ctx: Context) -> bytes:
        found = search_image_sets(ctx, request).image_sets_metadata_summaries
        # When something was last read is no content.
        return re.sub(r"last_accessed_at=[^)]*\)", "", repr(found)).encode()

    return answer


@contextlib.contextmanager
def flipped(path: Path, place: int, bit: int) -> Iterator[None]:
    """One bit of a file, turned for a while."""

    def turn() -> None:
        with path.open("r+b") as file:
            file.seek(place)
            old = file.read(1)[0]
            file.seek(place)
            file.write(bytes((old ^ 1 << bit,)))

    turn()
    try:
        yield
    finally:
        turn()


def places(random_: random.Random, paths: list[Path], count: int) -> Iterator[tuple[Path, int, int]]:
    """(file, byte, bit), each byte of all files as likely."""
    sizes = [path.stat().st_size for path in paths]
    for path in random_.choices(paths, sizes, k=count):
        yield path, random_.randrange(path.stat().st_size), random_.randrange(8)
