"""One codec worker as the engine sees it: a process that is started, talked to and killed."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import assert_never

from lightwell.codec_pool.answers.forged import ForgedAnswerError
from lightwell.codec_pool.far_storage.messages import FarChannel
from lightwell.codec_pool.far_storage.server import LONGEST, FarServer, FarStorage
from lightwell.codec_pool.messages import (
    Channel,
    CheckFrames,
    CheckRecords,
    Configure,
    Configured,
    ExistingFound,
    FromWorker,
    InspectInput,
    PacksGranted,
    PacksOpened,
    Perform,
    ReadChunk,
    ToWorker,
)
from lightwell.codec_pool.render_requests import Decode, DecodeNested, Render
from lightwell.codec_pool.requests import DirectRequest, ListInstances, Ping
from lightwell.errors import StorageError
from lightwell.framing import NotAMessageError
from lightwell.settings import FIELDS, Settings, worker_environment
from lightwell.stores.keys.ring import KeyRing
from lightwell.stores.objects.interface import Objects
from lightwell.stores.objects.local import LocalObjects
from lightwell.stores.objects.pack_objects import pack_name
from lightwell.stores.objects.sealed import sealed_pack
from lightwell.stores.objects.staging import make_staging

log = logging.getLogger(__name__)

_START_SECONDS = 120.0
_KEEP_SECONDS = 600.0
# What is missing from the confinement of every worker is logged once.
_logged: set[str] = set()
# A URL may hold a password.
_ENDPOINTS = ("storage_endpoint_url", "s3_endpoint_url")


class WorkerDied(Exception):
    """The process has ended, and why."""


class WorkerNotStarted(WorkerDied):
    """There is no process, or it never became ready: nothing that it was to read is to blame."""


class WorkerProcess:
    """One running worker. The thread that made it has to outlive it: Linux ties the process to that thread.

    ``storage`` has its folders, and what it is given of files and packs. ``quiet``: what it and the codecs
    print is not shown. ``nice``: how much it yields where the cores are busy. `send` and `receive`
    raise `WorkerDied` once the process has ended.
    """

    def __init__(
        self,
        settings: Settings,
        storage: FarStorage,
        *,
        quiet: bool = False,
        nice: int = 0,
    ) -> None:
        self._spool = storage.spool / f"worker-{os.getpid()}-{threading.get_ident()}"
        shutil.rmtree(self._spool, ignore_errors=True)
        try:
            self._spool.mkdir(mode=0o700, parents=True)
            pairs = [socket.socketpair() for _ in range(2)]
        except OSError as error:
            raise WorkerNotStarted(f"a codec worker could not be started: {error}") from error
        ours, theirs = zip(*pairs, strict=True)
        numbers = [end.fileno() for end in theirs]
        try:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "lightwell.codec_pool.worker_main",
                    str(os.getpid()),
                    *map(str, numbers),
                ],
                pass_fds=numbers,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL if quiet else None,
                env=worker_environment(),
            )
        except BaseException as error:
            for end in ours:
                end.close()
            if isinstance(error, OSError):
                raise WorkerNotStarted(f"a codec worker could not be started: {error}") from error
            raise
        finally:
            for end in theirs:
                end.close()
        if nice:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self.process.pid, nice)
        self._channel = Channel(ours[0])
        self._staging, no_staging = _staging(storage.objects)
        self._far = FarServer(FarChannel(ours[1], LONGEST), storage, settings, self._staging)
        self._keys = storage.keys
        self._kept_at = time.monotonic()
        self._killed: str | None = None
        try:
            self.send(Configure(_public(settings), str(self._spool), str(self._staging or ""), no_staging))
            configured = self.receive(_START_SECONDS)
            if not isinstance(configured, Configured):
                self.kill("it took too long")
                raise WorkerDied(self.reason())
        except WorkerDied as death:
            self.close()
            raise WorkerNotStarted(f"a codec worker could not be started: {death}") from None
        for sentence in configured.missing:
            if sentence not in _logged:
                _logged.add(sentence)
                log.warning("codec workers are confined less than they could be: %s", sentence)

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, message: ToWorker) -> None:
        self._keep_staging()
        let_have(self._far, message)
        granted = _grants(self._keys, message)
        try:
            self._channel.send(*([] if granted is None else [granted]), message)
        except (BrokenPipeError, ConnectionResetError):
            raise WorkerDied(self.reason()) from None

    def _keep_staging(self) -> None:
        """Keep the folder of a worker that stages nothing from looking as if its engine were gone."""
        if self._staging is not None and time.monotonic() - self._kept_at > _KEEP_SECONDS:
            self._kept_at = time.monotonic()
            with contextlib.suppress(OSError):
                os.utime(self._staging)

    def receive(self, timeout: float) -> FromWorker | None:
        """The next message, None if none comes within ``timeout`` seconds.

        Raises `ForgedAnswerError` for what is no message.
        """
        try:
            return self._channel.receive_from_worker(timeout)
        except EOFError:
            raise WorkerDied(self.reason()) from None
        except NotAMessageError:
            raise ForgedAnswerError("what is no message") from None

    def pack_size(self, key: int) -> int | None:
        """The size of the object of a pack that this worker has finished, None where there is none."""
        return self._far.stored_size(pack_name(key))

    def waits_for_storage(self, *, between_files: bool, may_ask: bool = True) -> bool:
        """Whether it is storage that it waits for, as `FarServer.is_awaited` says."""
        return self._far.is_awaited(between_files=between_files, may_ask=may_ask)

    def kill(self, why: str | None = None) -> None:
        """End the process at once; ``why`` becomes the reason of its death."""
        self._killed = self._killed or why
        self.process.kill()

    def reason(self) -> str:
        """Why the process ended, once it has."""
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        if self._killed:
            return self._killed
        if code < 0:
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = f"signal {-code}"
            return f"its process was ended by {name}"
        return f"its process ended with code {code}"

    def close(self) -> None:
        """End the process and remove what it left."""
        self._channel.close()
        self._far.close()
        self.process.kill()
        self.process.wait()
        for folder in (self._spool, self._staging):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


def _staging(objects: Objects) -> tuple[Path | None, str]:
    """The folder into which a worker writes packs, None where there is none, and why."""
    if not isinstance(objects, LocalObjects):
        return None, ""
    try:
        return make_staging(objects), ""
    except StorageError as error:
        return None, str(error)


def remove_leftovers(spool: Path) -> None:
    """Remove the folders of workers whose engine is gone. Only for the one engine of a data folder."""
    for folder in spool.glob("worker-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _public(settings: Settings) -> dict[str, str | int | bool | None]:
    """The settings that a worker needs; it has no database and no network, so it gets no secret."""
    left_out = {name for name in FIELDS if name.startswith("database_")} | {*_ENDPOINTS}
    values: dict[str, str | int | bool | None] = {}
    for field in fields(Settings):
        if field.metadata.get("internal") or field.metadata.get("secret") or field.name in left_out:
            continue
        value = getattr(settings, field.name)
        values[field.name] = str(value.absolute()) if isinstance(value, Path) else value
    return values


def let_have(server: FarServer, message: ToWorker) -> None:
    """Before the message is sent: let the worker have what it is about, and begin to open or fetch files.

    What it had for another message of that kind it has no longer.
    """
    if isinstance(message, ExistingFound | CheckRecords | CheckFrames | Perform):
        server.let_read(_to_read(message))
    if isinstance(message, InspectInput | Perform):
        server.let_open(_to_open(message))
    server.let_write(_to_write(message))
    if isinstance(message, InspectInput) and message.kind == "override":
        server.let_fetch(message.bucket, [os.fsdecode(message.path)], far=message.far)
    elif isinstance(message, ReadChunk):
        server.let_fetch(message.bucket, [key for *_, key in message.mappings], far=message.far)
        files, sealed = message.in_order(), message.is_sealed
        server.begin(
            *(message.task, message.bucket, files),
            far=message.far,
            sealed=sealed,
            datastore=message.datastore,
        )


def _grants(keys: KeyRing, message: ToWorker) -> PacksGranted | None:
    """What opens those packs the message is about that may be sealed; None if none may be."""
    packs = {pack for name in _to_read(message) if (pack := sealed_pack(name)) is not None}
    if not packs:
        return None
    granted, refused, plain = keys.grants(sorted(packs))
    return PacksGranted(granted, refused, plain)


def _to_read(message: ToWorker) -> Iterator[str]:
    """The names of the packs that the message is about."""
    if isinstance(message, ExistingFound):
        for instance in message.instances or ():
            yield pack_name(instance.pack)
            if instance.pixels is not None:
                yield pack_name(instance.pixels.pack)
    elif isinstance(message, CheckRecords):
        if message.pack is not None:
            yield pack_name(message.pack.key)
        for record in message.records:
            yield pack_name(record.pack)
            if record.pixels is not None:
                yield pack_name(record.pixels.pack)
    elif isinstance(message, CheckFrames):
        for pixels in message.pixels:
            yield pack_name(pixels.pack)
    elif isinstance(message, Perform):
        yield from _requested(message.request)
    elif not isinstance(message, Configure | ReadChunk | InspectInput | PacksOpened | PacksGranted):
        assert_never(message)


def _to_open(message: InspectInput | Perform) -> Iterator[str]:
    """The files that the message is about and that the worker opens by their names."""
    if isinstance(message, InspectInput):
        if message.kind != "override":
            yield os.fsdecode(message.path)
    elif isinstance(message.request, ListInstances):
        yield message.request.path


def _to_write(message: ToWorker) -> list[str]:
    """The names of the packs that are opened for the worker."""
    if isinstance(message, ReadChunk | PacksOpened):
        return [pack_name(opened.key) for opened in message.packs]
    return []


def _requested(request: DirectRequest) -> Iterator[str]:
    if isinstance(request, Render | DecodeNested):
        yield request.original.object
    if isinstance(request, Render):
        yield from (frame.object for frame in (request.frame, *request.animated) if frame is not None)
    elif isinstance(request, Decode):
        yield from (frame.object for frame in request.frames)
    elif not isinstance(request, Ping | DecodeNested | ListInstances):
        assert_never(request)
