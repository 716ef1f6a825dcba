"""Opens the stores of a data folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lightwell.domain.imports.jobs import Job
from lightwell.errors import StorageError
from lightwell.stores.account.datastores import KnownKeys
from lightwell.stores.account.key_uses import KeyUses
from lightwell.stores.background.wakeups import wake_engine
from lightwell.stores.buckets.registry import Buckets
from lightwell.stores.data_folder.document_cache import DocumentCache
from lightwell.stores.data_folder.held_folders import sweep_whole
from lightwell.stores.data_folder.node import NOBODY, Node
from lightwell.stores.db.database import Database
from lightwell.stores.db.open import DatabaseSettings, open_database
from lightwell.stores.image_sets.last_access import Accesses
from lightwell.stores.jobs import units
from lightwell.stores.jobs.units import Enqueue
from lightwell.stores.keys.documents import SealedDocuments
from lightwell.stores.keys.opening import open_ring
from lightwell.stores.keys.providers import KeySettings
from lightwell.stores.keys.ring import KeyRing
from lightwell.stores.objects import pack_objects, packs
from lightwell.stores.objects.local import sweep_folder
from lightwell.stores.objects.open import CacheOptions, open_objects
from lightwell.stores.objects.sealed import SealedObjects
from lightwell.stores.objects.shared_blocks import SharedBlocks
from lightwell.stores.queues.choice import enqueue_of, kind_of


class StorePaths(DatabaseSettings, KeySettings, Protocol):
    """The settings that say where the stores are."""

    @property
    def data(self) -> Path: ...
    @property
    def storage(self) -> str: ...
    @property
    def storage_endpoint_url(self) -> str | None: ...
    @property
    def storage_cache(self) -> Path: ...
    @property
    def storage_cache_bytes(self) -> int: ...
    @property
    def buckets(self) -> Path: ...
    @property
    def s3_endpoint_url(self) -> str | None: ...
    @property
    def region(self) -> str: ...
    @property
    def engine(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Stores:
    """All stores. Nothing in them is opened before it is used."""

    db: Database
    objects: SealedObjects
    keys: KeyRing
    buckets: Buckets
    documents: DocumentCache
    spool: Path  # for temporary files; on the disk of the data folder, not durable
    accesses: Accesses
    key_uses: KeyUses
    node: Node
    enqueue: Enqueue = units.announce
    """Queues units of work of import jobs; `wake_engine` once the transaction is committed."""
    datastore_keys: KnownKeys = field(default_factory=KnownKeys)

    @property
    def node_id(self) -> str | None:
        """The id of this server's folders; None on SQLite, which only one server can use."""
        return None if self.db.dialect == "sqlite" else self.node.id

    def input_buckets(self, job: Job) -> Buckets:
        """The buckets that a job's input refers to."""
        return self.buckets.far() if job.input_node == NOBODY else self.buckets

    def output_buckets(self, job: Job) -> Buckets:
        """The buckets that a job's output refers to."""
        return self.buckets.far() if job.output_node == NOBODY else self.buckets

    def wake_engine(self) -> None:
        """Tell the engine of this data folder that units were queued, where the database does not."""
        wake_engine(self.db, self.spool.parent)

    def sweep(self, older_than: int) -> int:
        """Remove files that crashes left half written, in the objects and in the spool. Returns how many.

        ``older_than`` is ms since the epoch. No file that is still being written may be that old.
        """
        folders = sum(sweep_whole(path, older_than) for path in self.spool.glob("report-*"))
        return self.objects.sweep(older_than) + sweep_folder(self.spool, older_than) + folders

    def sweep_cache(self) -> int:
        """Drop what this machine has cached of packs that are no more. Returns of how many."""

        def exist(names: Sequence[str]) -> set[str]:
            keys = {name: key for name in names if (key := pack_objects.key_of(name)) is not None}
            with self.db.read() as conn:
                known = packs.existing_keys(conn, list(keys.values()))
            return {name for name, key in keys.items() if key in known}

        return self.objects.sweep_cache(exist)

    def close(self) -> None:
        """Close what this process has open, also before a fork. The next use reopens it."""
        self.accesses.flush()
        self.key_uses.flush()
        self.db.close()
        self.objects.close()
        self.buckets.close()


def open_stores(
    settings: StorePaths,
    count: Callable[[str, str, int], None] | None = None,
    shared: SharedBlocks | None = None,
) -> Stores:
    """The stores of a data folder, which is created if it is missing (mode 0700). The schema is not checked.

    ``count`` gets what `observe.metrics` counts: a counter, a label's value and a number. ``shared`` is
    memory of several processes for what they read from S3.
    Raises `StorageError` if the folder cannot be created, `ConfigurationError` for a URL of an unknown kind.
    """
    data = settings.data.absolute()
    spool = data / "spool"
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        spool.mkdir(mode=0o700, exist_ok=True)
        settings.buckets.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"The data folder {data} cannot be created or written to: {error.strerror}; check LIGHTWELL_DATA "
            "and who owns the folder."
        ) from error
    db = open_database(settings)
    cache = CacheOptions(settings.storage_cache.absolute(), settings.storage_cache_bytes, count, shared)
    keys = open_ring(settings, db)
    inner = open_objects(
        settings.storage,
        endpoint_url=settings.storage_endpoint_url,
        region=settings.region,
        cache=cache,
    )
    return Stores(
        db=db,
        objects=SealedObjects(inner, keys),
        keys=keys,
        buckets=Buckets(settings.buckets, settings.s3_endpoint_url, settings.region),
        documents=DocumentCache(data / "documents", seals=SealedDocuments(db)),
        spool=spool,
        accesses=Accesses(db),
        key_uses=KeyUses(db),
        node=Node(data),
        enqueue=enqueue_of(kind_of(settings.engine, db)),
    )
