"""`Admission.admit`: the one place where it is judged what a codec worker answers.

The engine believes nothing else of it: a file may have taken the worker over, and what the engine then wrote
into the database would be what other clients are answered. Everything that arrives from a worker passes here,
of import jobs, uploads, checks and requests alike (`codec_pool.slot`).
"""

from __future__ import annotations

from lightwell.codec_pool.answers.chunk_answers import ChunkAnswers, PackSize
from lightwell.codec_pool.answers.forged import ForgedAnswerError, require
from lightwell.codec_pool.failures import Cause
from lightwell.codec_pool.messages import (
    CheckFrames,
    CheckRecords,
    ChunkFailed,
    ChunkRead,
    Configured,
    ExistingFound,
    FileRead,
    FileRefused,
    FileStarted,
    FindExisting,
    FromWorker,
    InputInspected,
    InspectInput,
    OpenPacks,
    PacksOpened,
    Perform,
    Performed,
    ReadChunk,
    RecordsChecked,
    ToWorker,
)
from lightwell.codec_pool.render_requests import (
    Decode,
    Decoded,
    DecodeNested,
    NestedDecoded,
    NotRendered,
    Render,
    Rendered,
)
from lightwell.codec_pool.requests import InstancesListed, ListInstances, Ping, Pong, RequestError
from lightwell.errors import StorageError
from lightwell.stores.db.database import Database
from lightwell.stores.image_sets import existing_instances

_REPLIES: dict[type, tuple[type, ...]] = {
    Ping: (Pong,),
    Render: (Rendered, NotRendered),
    Decode: (Decoded,),
    DecodeNested: (NestedDecoded,),
    ListInstances: (InstancesListed,),
}
_CHUNK_FAILURES = (Cause.UNAVAILABLE, Cause.STORAGE, Cause.FAULT_BETWEEN_FILES)

_Task = ReadChunk | CheckRecords | CheckFrames | InspectInput | Perform


def offer_existing(db: Database, datastore: int, asked: FindExisting) -> ExistingFound:
    """What a worker is told of an instance: what the image sets of a data store, by its key, have of it."""
    uids = (asked.study_instance_uid, asked.series_instance_uid, asked.sop_instance_uid)
    with db.read() as conn:
        found = existing_instances.find(conn, datastore, *uids)
        return ExistingFound(found, existing_instances.missing_uids(conn, datastore, asked.ahead))


class Admission:
    """What one worker may answer, by what it was told. For the thread that talks to it."""

    def __init__(self, pack_size: PackSize) -> None:
        self._pack_size = pack_size
        self._tasks: dict[int, _Task] = {}
        self._chunks: dict[int, ChunkAnswers] = {}
        # The task about which the worker asked last.
        self._asking: int | None = None

    def told(self, message: ToWorker) -> None:
        """The worker is told this: from now on it may answer it."""
        if isinstance(message, ReadChunk):
            self._chunks[message.task] = ChunkAnswers(
                message.in_order(), message.packs, self._pack_size, has_overrides=bool(message.mappings)
            )
        if isinstance(message, _Task):
            self._tasks[message.task] = message
        elif isinstance(message, PacksOpened | ExistingFound):
            assert self._asking is not None, "an answer to a question"
            chunk, self._asking = self._chunks[self._asking], None
            if isinstance(message, PacksOpened):
                chunk.open(message.packs)
            else:
                chunk.offer(message.instances or ())

    def admit(self, message: FromWorker) -> None:
        """Raise `ForgedAnswerError` for what the worker cannot know, or has no reason to say now.

        Raises `StorageError` where that cannot be found out.
        """
        known = None
        try:
            require(not isinstance(message, Configured), "that it is ready, again")
            assert not isinstance(message, Configured)
            require(message.task in self._tasks, "something it was not asked")
            known = message.task
            self._judge(message)
        except ForgedAnswerError as error:
            error.task = known
            raise
        except StorageError:
            raise
        except Exception as error:  # JSON that is nested without end, and whatever else nobody thought of
            raise ForgedAnswerError(f"what cannot be read, {type(error).__name__}", known) from error

    def _judge(
        self,
        message: FileStarted
        | OpenPacks
        | FindExisting
        | FileRead
        | FileRefused
        | ChunkRead
        | ChunkFailed
        | RecordsChecked
        | InputInspected
        | Performed,
    ) -> None:
        task, chunk = self._tasks[message.task], self._chunks.get(message.task)
        if isinstance(message, FileStarted):
            self._start(task, chunk, message.file)
            return
        if isinstance(message, RecordsChecked):
            self._end(message.task, isinstance(task, CheckRecords | CheckFrames))
            require(all(-1 <= place < _most(task) for place, _ in message.faults), "a place of a fault")
            return
        if isinstance(message, InputInspected):
            require(isinstance(task, InspectInput), "another kind of answer")
            assert isinstance(task, InspectInput)
            require(task.kind == "zip" or not message.members, "members of what is no zip file")
            require(task.kind == "dicomdir" or not message.files, "files of what is no DICOMDIR")
            if message.is_last or message.cause is not None:
                self._end(message.task)
            return
        if isinstance(message, Performed):
            self._end(message.task, isinstance(task, Perform))
            assert isinstance(task, Perform)
            replies = (*_REPLIES[type(task.request)], RequestError)
            require(isinstance(message.reply, replies), "a reply to another request")
            return
        require(chunk is not None, "another kind of answer")
        assert chunk is not None
        if isinstance(message, OpenPacks | FindExisting):
            if isinstance(message, OpenPacks):
                chunk.ask_packs(message.count)
            else:
                chunk.ask_existing()
            self._asking = message.task
        elif isinstance(message, FileRead):
            chunk.read(message.record)
        elif isinstance(message, FileRefused):
            chunk.refuse(message.failure)
        elif isinstance(message, ChunkRead):
            chunk.finish(message.dependencies)
            self._end(message.task)
        else:
            require(message.cause in _CHUNK_FAILURES, "a cause that is not known between files")
            self._end(message.task)

    def _start(self, task: _Task, chunk: ChunkAnswers | None, file: int | None) -> None:
        if chunk is None:
            is_place = file is not None and -1 <= file < _most(task)
            require(is_place and not isinstance(task, InspectInput), "a place that there is not")
            return
        # A worker reads one chunk after the other, in the order in which it got them.
        reading = next((number for number, each in self._chunks.items() if not each.is_read), None)
        assert isinstance(task, ReadChunk)
        require(reading == task.task, "a file of a later chunk")
        chunk.start(file)

    def _end(self, task: int, is_kind: bool = True) -> None:
        require(is_kind, "another kind of answer")
        del self._tasks[task]
        self._chunks.pop(task, None)


def _most(task: _Task) -> int:
    """How many places of files a task has, from 0 on."""
    if isinstance(task, CheckRecords):
        return task.first + len(task.records)
    return len(task.pixels) if isinstance(task, CheckFrames) else 1
