"""Several servers in one process that take turns: each goes from one transaction to the next when it is told.

The code is the real one, in a thread an actor; only one thread runs at a time. So a schedule of numbers says
in which order the transactions of imports, operations and collectors come, and where one of them dies.
"""

from __future__ import annotations

import gzip
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import msgspec
import pydicom
from pydicom.uid import UID
from sqlalchemy import Connection, select, text, update

from lightwell.clock import Clock, Ids
from lightwell.codec_pool.admission import offer_existing
from lightwell.codec_pool.messages import FindExisting
from lightwell.domain.imports.existing_instances import ExistingInstance
from lightwell.domain.states import JobPhase
from lightwell.errors import ApiError, InternalError, StorageError
from lightwell.imaging.dataset.element_cache import SeriesCache
from lightwell.imaging.dataset.part10 import FileSource
from lightwell.ingest.pipeline import Pipeline, PipelineInputs
from lightwell.operations import OPERATIONS
from lightwell.operations.context import Caller, Context
from lightwell.operations.get_image_frame import FrameReader
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.db import tables
from lightwell.stores.db.pgqueuer_schema import TABLE
from lightwell.stores.objects import pack_objects
from lightwell.stores.objects.pack_objects import OpenPack
from lightwell.stores.queues.choice import kind_of
from lightwell.wire.routes import ROUTES
from lightwell.work.collector import Collector
from lightwell.work.engine import Engine
from lightwell.work.imports.import_phases import ClaimLost
from lightwell.work.imports.leases import LeasedChunk
from tests.support import invariants
from tests.support.ct_files import ROOT, ct
from tests.support.imports import Importing

GRACE_SECONDS = 10


class Died(BaseException):
    """An actor's process was killed."""


class Actor(threading.Thread):
    """One activity of a server, stopped before each of its transactions."""

    def __init__(self, body: Callable[[Actor], None], seed: int) -> None:
        super().__init__(daemon=True)
        self.choose = Random(seed).randrange
        self._body = body
        self._go = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)
        self._dies = False
        self.error: BaseException | None = None
        self.done = False
        self.start()
        self._stopped.acquire()

    def run(self) -> None:
        try:
            self.wait()
            self._body(self)
        except Died:
            pass
        except BaseException as error:
            self.error = error
        self.done = True
        self._stopped.release()

    def wait(self) -> None:
        """Called by the actor where it may be stopped, or die."""
        if self._dies:
            raise Died
        self._stopped.release()
        self._go.acquire()
        if self._dies:
            raise Died

    def step(self) -> None:
        """Let it go on to its next transaction."""
        self._go.release()
        self._stopped.acquire()
        if self.error is not None:
            raise self.error

    def die(self) -> None:
        self._dies = True
        while not self.done:
            self.step()


class Free(Actor):
    """An actor that waits for nobody, for threads that run at the same time."""

    def __init__(self, seed: int) -> None:
        self.choose = Random(seed).randrange

    def wait(self) -> None:
        pass


class _Database:
    def __init__(self, actor: Actor, real: Any) -> None:
        self._actor, self._real = actor, real
        self.dialect, self.address = real.dialect, real.address

    @contextmanager
    def read(self) -> Iterator[Any]:
        self._actor.wait()
        with self._real.read() as conn:
            yield conn

    read_singly = read

    def write(self, work: Any) -> Any:
        self._actor.wait()
        return self._real.write(work)

    def look_up(self, *arguments: Any) -> Any:
        self._actor.wait()
        return self._real.look_up(*arguments)


class _Objects:
    def __init__(self, actor: Actor, real: Stores, clock: Clock) -> None:
        self._actor, self._stores, self._clock = actor, real, clock
        self._real = real.objects

    def delete(self, key: str) -> None:
        self._actor.wait()
        pack = tables.pack.c
        with self._stores.db.read() as conn:
            announced = conn.execute(
                select(pack.created_at).where(pack.key == pack_objects.key_of(key))
            ).scalar()
        grace = GRACE_SECONDS * 1000
        assert announced is None or announced + grace < self._clock.now(), "the grace period is not over"
        self._real.delete(key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Time(Clock):
    """A collector that continues when told. Its clock is a day ahead, so every file counts as old."""

    def __init__(self) -> None:
        self.ms = super().now() + 24 * 3_600_000

    def now(self) -> int:
        return self.ms


class Numbers(Ids):
    """Ids that a run gives again when it is run again."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def key(self) -> int:
        return self._random.getrandbits(63) or 1

    def id(self) -> str:
        return f"{self._random.getrandbits(128):032x}"


_files: dict[tuple[Any, ...], bytes] = {}


def file(study: int, series: int, number: int, name: int) -> bytes:
    """A CT slice; ``name`` varies the patient's name, and with it a level value."""
    key = (study, series, number, name)
    if key not in _files:
        data = ct(number, study=str(study), series=str(series), size=8, PatientName=f"NAME^{name}")
        if number == 3:  # one SOP Instance UID in several series
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = UID(f"{ROOT}.3")
        stream = io.BytesIO()
        pydicom.dcmwrite(stream, data, enforce_file_format=True)
        _files[key] = stream.getvalue()
    return _files[key]


class Interleaving:
    """The servers, and what may happen in them. ``choose(n)`` gives a number below n."""

    def __init__(self, server: Importing, choose: Callable[[int], int]) -> None:
        self.server = server
        self.choose = choose
        self.clock, self.ids = Time(), Numbers(choose(1 << 30))
        self.settings: Settings = replace(server.settings, collect_grace=GRACE_SECONDS)
        self.actors: list[Actor] = []
        self._in_order = bool(choose(2))
        self._jobs = 0

    # What happens ---------------------------------------------------------------------------------------

    def start(self, body: Callable[[Actor], None]) -> None:
        place = self.choose(len(self.actors) + 1) if self._in_order else len(self.actors)
        self.actors.insert(place, Actor(body, self.choose(1 << 16)))

    def step(self) -> None:
        """Some transactions of one actor, or a new actor, or the end of one."""
        what = self.choose(17)
        if what < 4 or not self.actors:
            begin = [self.importer] * 3 + [self.deleter] * 3 + [self.collector] * 3
            begin += [self.changer, self.copier, self.inherited_level, self.reader]
            self.start(begin[self.choose(len(begin))])
        elif what == 16:
            self.overtake()
        elif what == 4:
            self._pass((1, 1_000, 11_000, 40_000)[self.choose(4)])
        elif what == 5:
            self.actors.pop(self.choose(len(self.actors))).die()
        else:
            # Mostly one goes on for a while: what another has just seen is then long over. In half of all
            # runs the first goes on until it is put last, so that everybody overtakes it.
            actor = self.actors[0 if self._in_order else self.choose(len(self.actors))]
            for _ in range((1, 1, 2, 3, 5, 8, 20, 100)[self.choose(8)]):
                actor.step()
                if actor.done:
                    self.actors.remove(actor)
                    return
            if self._in_order and self.choose(3) == 0:
                self.actors.append(self.actors.pop(0))

    def overtake(self) -> None:
        """Stop a collector somewhere while others run, one after the other, each to its end."""
        slow = Actor(self.collector, self.choose(1 << 16))
        for _ in range(1 + self.choose(16)):
            if not slow.done:
                slow.step()
        for _ in range(2 + self.choose(5)):
            come = [self.importer, self.deleter, self.collector] * 2 + [self.inherited_level, self.copier]
            actor = Actor(come[self.choose(len(come))], self.choose(1 << 16))
            while not actor.done:
                actor.step()
        if not slow.done:
            self.actors.append(slow)

    def finish(self) -> None:
        """Kill or finish the running actors, start again, and let everything finish."""
        while self.actors:
            actor = self.actors.pop(self.choose(len(self.actors)))
            if self.choose(2):
                actor.die()
            while not actor.done:
                actor.step()
        for _ in range(20):
            if not self.server.unfinished():
                break
            self._pass(60_000)
            self._work(self.server.stores)
        assert not self.server.unfinished(), "a job never ends"
        self.clock.ms += GRACE_SECONDS * 1000 + 1
        collector = Collector(self.server.stores, self.settings, self.clock, self.ids, batch=3)
        collector.collect(housekeeping=True)

    # Actors ---------------------------------------------------------------------------------------------

    def stores(self, actor: Actor) -> Stores:
        real = self.server.stores
        db, objects = _Database(actor, real.db), _Objects(actor, real, self.clock)
        return replace(real, db=db, objects=objects)  # type: ignore[arg-type]

    def call(self, stores: Stores, operation: str, **members: Any) -> Any:
        caller = Caller("000000000000", "arn:aws:iam::000000000000:root", "AK")
        context = Context(stores, self.settings, self.clock, self.ids, caller)
        members = {"datastoreId": self.server.datastore, **members}
        return OPERATIONS[operation](context, msgspec.convert(members, ROUTES[operation].request))

    def importer(self, actor: Actor) -> None:
        """A job of a few files, and an engine that works at whatever waits until it finds nothing."""
        self._jobs += 1
        prefix = f"{self._jobs}"
        folder = self.server.input / prefix
        folder.mkdir()
        for place in range(1 + actor.choose(3)):
            study, series = actor.choose(4) // 3, actor.choose(3) // 2
            data = file(study, series, 1 + actor.choose(3), actor.choose(2))
            (folder / f"{place}.dcm").write_bytes(data)
        stores = self.stores(actor)
        members = {"inputS3Uri": f"s3://{self.server.input.name}/{prefix}/", "clientToken": self.ids.id()}
        members |= {
            "outputS3Uri": f"s3://{self.server.output.name}/",
            "dataAccessRoleArn": "arn:aws:iam::000000000000:role/import",
        }
        self.call(stores, "StartDICOMImportJob", **members)
        self._work(stores)

    def _pass(self, ms: int) -> None:
        """Let time pass, also for the claims of units, which end by the database's clock."""
        self.clock.ms += ms
        t = tables.unit.c
        is_queued = kind_of(self.settings.engine, self.server.stores.db) == "pgqueuer"

        def age(conn: Connection) -> None:
            conn.execute(
                update(tables.unit).values(claimed_until=t.claimed_until - ms, not_before=t.not_before - ms)
            )
            if is_queued:
                # Nobody beats here, so a claim holds as long as those of the tables: until time passes.
                passed = text(
                    f"UPDATE {TABLE} SET heartbeat = heartbeat - :passed, "
                    "execute_after = execute_after - :passed, updated = updated - :passed"
                )
                conn.execute(passed, {"passed": timedelta(milliseconds=ms)})

        self.server.stores.db.write(age)

    def _work(self, stores: Stores) -> None:
        engine = Engine(stores, self.settings, self.clock, self.ids)
        phases = (JobPhase.REPORT, JobPhase.COMMIT, JobPhase.LIST)
        for _ in range(100):
            engine._move_on()
            engine._dispatch.wake()
            claimed = engine._leases.take()
            if claimed is not None:
                with suppress(StorageError):
                    self._read(stores, engine, claimed)
                continue
            engine._dispatch.wake()
            token = engine._dispatch.take(phases)
            if token is None:
                return
            with suppress(ClaimLost, StorageError):
                engine._run_unit(token)

    def _read(self, stores: Stores, engine: Engine, claimed: LeasedChunk) -> None:
        """What a codec worker does, in this process."""
        packs = iter(claimed.task.packs)

        def take_pack() -> OpenPack:
            return next(packs, None) or engine._leases.open_packs(claimed, 1)[0]

        def find_existing(study: str, series: str, uid: str) -> list[ExistingInstance]:
            asked = FindExisting(claimed.task.task, study, series, uid, ahead=[])
            return offer_existing(stores.db, claimed.datastore, asked).instances or []

        inputs = PipelineInputs(
            storage_format=claimed.task.storage_format,
            inflate_limit=1 << 30,
            ids=self.ids,
            cache=SeriesCache(),
            take_pack=take_pack,
            find_existing=find_existing,
        )
        pipeline = Pipeline(stores.objects, stores.spool, inputs)
        try:
            for found in claimed.chunk.files:
                with FileSource(self.server.input / found.name) as source:
                    record = pipeline.read(found.number, found.name, source)
                claimed.result.records.append(record)
            stores.db._actor.wait() if isinstance(stores.db, _Database) else None
            done = pipeline.finish()
        finally:
            pipeline.abort()
        claimed.result.dependencies = done
        engine._leases.commit(claimed)

    def collector(self, actor: Actor) -> None:
        batch = 1 + actor.choose(4)
        collector = Collector(self.stores(actor), self.settings, self.clock, self.ids, batch=batch)
        collector.collect(housekeeping=actor.choose(4) == 0)

    def deleter(self, actor: Actor) -> None:
        if chosen := self._chosen(actor):
            with suppress(ApiError):
                self.call(self.stores(actor), "DeleteImageSet", imageSetId=chosen[0])

    def changer(self, actor: Actor) -> None:
        """An update, the removal of an instance, new UIDs, or a revert."""
        if not (chosen := self._chosen(actor)):
            return
        id, version, series = chosen
        instance = {"SOPInstanceUID": f"{ROOT}.{actor.choose(4)}"}
        old = f"{series}.{1 + actor.choose(3)}"
        study = {"StudyInstanceUID": f"{ROOT}.{actor.choose(3)}"}
        updates_by_choice: dict[int, dict[str, Any]] = {
            0: {"Patient": {"DICOM": {"PatientName": f"NEW^{actor.choose(9)}"}}},
            1: {"Study": {"Series": {series: {"Instances": {old: {"DICOM": instance}}}}}},
            2: {"Study": {"DICOM": study}},
        }
        if updatable := updates_by_choice.get(actor.choose(5)):
            blob = json.dumps({"SchemaVersion": 1.1, **updatable}).encode()
            updates: dict[str, Any] = {"DICOMUpdates": {"updatableAttributes": blob}}
        elif actor.choose(2):
            blob = json.dumps(
                {"SchemaVersion": 1.1, "Study": {"Series": {series: {"Instances": {old: {}}}}}}
            ).encode()
            updates = {"DICOMUpdates": {"removableAttributes": blob}}
        else:
            updates = {"revertToVersionId": str(1 + actor.choose(max(1, version - 1)))}
        with suppress(ApiError):
            self.call(
                self.stores(actor),
                "UpdateImageSetMetadata",
                imageSetId=id,
                latestVersionId=str(version),
                force=True,
                updateImageSetMetadataUpdates=updates,
            )

    def copier(self, actor: Actor) -> None:
        if not (chosen := self._chosen(actor)):
            return
        copy: dict[str, Any] = {"sourceImageSet": {"latestVersionId": str(chosen[1])}}
        other = self._chosen(actor)
        if other and actor.choose(2):
            copy["destinationImageSet"] = {"imageSetId": other[0], "latestVersionId": str(other[1])}
        with suppress(ApiError):
            self.call(
                self.stores(actor),
                "CopyImageSet",
                sourceImageSetId=chosen[0],
                copyImageSetInformation=copy,
                force=bool(actor.choose(2)),
                promoteToPrimary=not other and bool(actor.choose(2)),
            )

    def inherited_level(self, actor: Actor) -> None:
        """Leave a copy whose level blocks come from edits, so that none of its records names them."""
        target, source = self._chosen(actor), self._chosen(actor)
        if target is None or source is None or target[0] == source[0]:
            return
        stores, (id, version, series) = self.stores(actor), target
        before = self._instances(id)
        with suppress(ApiError):
            copy: dict[str, Any] = {
                "sourceImageSet": {"latestVersionId": str(source[1])},
                "destinationImageSet": {"imageSetId": id, "latestVersionId": str(version)},
            }
            self.call(
                stores, "CopyImageSet", sourceImageSetId=source[0], copyImageSetInformation=copy, force=True
            )
            named: dict[str, Any] = {"Series": {series: {"Instances": {uid: {} for uid in before}}}}
            blob = json.dumps({"SchemaVersion": 1.1, "Study": named}).encode()
            self.call(
                stores,
                "UpdateImageSetMetadata",
                imageSetId=id,
                latestVersionId=str(version + 1),
                updateImageSetMetadataUpdates={"DICOMUpdates": {"removableAttributes": blob}},
            )
            copy = {"sourceImageSet": {"latestVersionId": str(version + 2)}}
            self.call(stores, "CopyImageSet", sourceImageSetId=id, copyImageSetInformation=copy)
            self.call(stores, "DeleteImageSet", imageSetId=id)

    def reader(self, actor: Actor) -> None:
        """Read a version whole. It fails only if the set was deleted."""
        if not (chosen := self._chosen(actor)):
            return
        id, version, _ = chosen
        stores = self.stores(actor)
        try:
            answer = self.call(
                stores, "GetImageSetMetadata", imageSetId=id, versionId=str(1 + actor.choose(version))
            )
            document = json.loads(gzip.decompress(answer.image_set_metadata_blob))
            frames = FrameReader(stores, self.clock)
            for series in document["Study"]["Series"].values():
                for instance in series["Instances"].values():
                    for frame in instance["ImageFrames"]:
                        place = frames.locate(self.server.datastore, id, frame["ID"])
                        actor.wait()
                        frames.read(place, 0, place.length)
        except (ApiError, InternalError):
            assert id not in [row[0] for row in self._living()], "a version that is there cannot be read"

    def _chosen(self, actor: Actor) -> tuple[str, int, str] | None:
        found = self._living()
        return found[actor.choose(len(found))] if found else None

    def _instances(self, id: str) -> list[str]:
        """The SOPInstanceUIDs that a set holds."""
        t, member, instance = tables.image_set.c, tables.member.c, tables.instance.c
        held = tables.member.join(tables.instance, instance.key == member.instance).join(
            tables.image_set, t.key == member.image_set
        )
        with self.server.stores.db.read() as conn:
            rows = conn.execute(
                select(instance.sop_instance_uid)
                .select_from(held)
                .where(t.id == id, member.valid_to.is_(None))
                .order_by(instance.sop_instance_uid)
            )
            return list(rows.scalars())

    def check(self) -> None:
        """Assert what must be true between any two steps; no operation may have met an internal fault."""
        v = tables.version.c
        failed = select(v.message).where(v.workflow_status.like("%_FAILED"), v.message.like("The server%"))
        with self.server.stores.db.read() as conn:
            assert not conn.execute(failed).all(), "an operation ended in a fault of the server"
        invariants.forget()
        invariants.check(self.server.stores)

    def _living(self) -> list[tuple[str, int, str]]:
        t = tables.image_set.c
        with self.server.stores.db.read() as conn:
            rows = conn.execute(
                select(t.id, t.latest_version, t.series_instance_uid)
                .where(t.state == "ACTIVE")
                .order_by(t.created_at, t.id)
            )
            return [tuple(row) for row in rows]
