"""The ring of keys of one process: which packs are sealed, and with what they are opened and written.

A sealed pack has an odd key and a plain one an even key (packs written before there was sealing have either):
so the database is asked only about those that may be sealed, and about each once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TypeVar

from sqlalchemy import Connection

from lightwell.errors import ConfigurationError, DamagedError, StorageError, StorageUnavailableError
from lightwell.observe.logs import event
from lightwell.sealing.providers.interface import (
    DataKey,
    KeyProvider,
    KeyProviderAwayError,
    KeyProviderError,
    KeyPurpose,
)
from lightwell.sealing.segments import PackCipher, grant_of
from lightwell.sealing.values import ValueCipher
from lightwell.stores.db.database import Database
from lightwell.stores.db.errors import damaged_database, misplaced
from lightwell.stores.keys import data_keys
from lightwell.stores.keys.data_keys import KeyDestroyedError, StoredKey
from lightwell.stores.keys.granted import Refused
from lightwell.stores.keys.patient_provider import PatientProvider
from lightwell.stores.objects import packs
from lightwell.stores.objects.pack_objects import OpenPack, PackGrant
from lightwell.stores.transactions import outside

_NOT_OPENED = (StorageError, ConfigurationError)  # as it may be that a key cannot be had
_MOST_BYTES = 64 << 20
_MOST_SETS = 1 << 14
_PAGE = 1000
_AWAY_SECONDS = 60.0
"""After so long a key service that was away is asked again for what is in memory."""
_LOOK_SECONDS = 15.0
"""So often `KeyRing.prepare` asks the database which key is the newest; it renews what it was given so long,
twice over, before it ends."""

T = TypeVar("T")
OpenProvider = Callable[[Connection], KeyProvider]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _SealingKey:
    key: int
    plain: bytes


class KeyRing:
    """Keys are unwrapped when they are first needed, and again after ``keep`` seconds.

    ``provider`` opens the provider of the settings; None where there is none: then nothing is sealed, and a
    sealed pack cannot be read. ``others`` open the providers with which keys may have been made before, by
    name: see `stores.keys.renewal`. ``always``: a data store without a key is given one when something is
    written to it, else only when it is created with a ``kmsKeyArn``.
    No write transaction waits for a provider: what is missing in one is asked for before it begins anew.
    Methods raise `StorageError` as the provider and the database do. Safe to use from threads.
    """

    def __init__(
        self,
        db: Database,
        provider: OpenProvider | None,
        *,
        always: bool,
        keep: float,
        others: Mapping[str, OpenProvider] = MappingProxyType({}),
    ) -> None:
        self._db = db
        self._open = provider
        self._provider: KeyProvider | None = None
        self._others = others
        self._opened: dict[str, KeyProvider] = {}
        self._always = always
        self._keep = keep
        self._lock = threading.Lock()
        self._prepared: dict[int, tuple[float, int | None]] = {}
        self._keys: dict[int, tuple[float, bytes]] = {}
        self._ciphers: dict[int, tuple[float, PackCipher | None]] = {}
        self._values: dict[int, tuple[float, ValueCipher, str]] = {}
        self._stores: dict[int, str] = {}
        self._weight = 0

    # Writing --------------------------------------------------------------------------------------------

    def prepare(
        self, datastore_key: int, new_key: Callable[[], int] | None = None, now: int = 0
    ) -> int | None:
        """Have at hand what seals what is written to a data store, so that no transaction has to be given up
        for a key; with ``new_key`` also the one that it should have and has not.

        Returns the row of that key, as it was within the last `_LOOK_SECONDS`; None where there is none yet.
        Raises as the provider does.
        """
        if self._open is None:
            return None
        look = min(self._keep / 4, _LOOK_SECONDS)
        due, row = self._prepared.get(datastore_key, (0.0, None))
        if due > time.monotonic():
            return row
        with self._db.read() as conn:
            found = data_keys.newest(conn, datastore_key)
        if found is None and new_key is not None and self._always:
            give = partial(self.give_key, datastore_key=datastore_key, new_key=new_key, now=now)
            self._db.write(give)
            return self.prepare(datastore_key)
        row = None if found is None else found.key
        if len(self._prepared) >= _MOST_SETS:
            self._prepared.clear()
        if found is not None:
            self._unwrapped(found, spare=2 * look)
        if found is not None or not self._always:
            self._prepared[datastore_key] = time.monotonic() + look, row
        return row

    def open_packs(
        self, conn: Connection, datastore_key: int, count: int, new_key: Callable[[], int], now: int
    ) -> list[OpenPack]:
        """Insert the rows of packs that are about to be written. ``now`` is ms since the epoch by the
        database's clock, which the collector goes by, too.
        """
        sealing = self._sealing_key(conn, datastore_key, new_key, now)
        if sealing is None:
            keys = [new_key() & ~1 or 2 for _ in range(count)]
            packs.insert_open(conn, keys, datastore_key, now)
            return [OpenPack(key, b"") for key in keys]
        keys = [new_key() | 1 for _ in range(count)]
        packs.insert_open(conn, keys, datastore_key, now, sealing.key)
        return [OpenPack(key, grant_of(sealing.plain, key)) for key in keys]

    def give_key(self, conn: Connection, datastore_key: int, new_key: Callable[[], int], now: int) -> None:
        """Make the key that a data store should have and has not, before names of files are written."""
        self._sealing_key(conn, datastore_key, new_key, now)

    def _sealing_key(
        self, conn: Connection, datastore_key: int, new_key: Callable[[], int], now: int
    ) -> _SealingKey | None:
        """The newest key of a data store, which is made if it should have one and has none."""
        found = data_keys.newest(conn, datastore_key)
        while found is None:
            if not self._always:
                return None
            id, arn = data_keys.id_and_arn(conn, datastore_key)
            purpose = KeyPurpose(id, data_keys.next_number(conn, datastore_key), arn)
            made = self.provider(conn).make(purpose)
            self.add_key(conn, datastore_key, purpose, made, new_key(), now)
            found = data_keys.newest(conn, datastore_key)
        return _SealingKey(found.key, self._unwrapped(found, conn))

    def first_key(self, datastore: str, kms_key_arn: str | None) -> DataKey | None:
        """The key of a data store that is about to be created; None if it gets none.

        Raises `KeyProviderError` for a ``kmsKeyArn`` that the provider refuses.
        """
        if self._open is None or not (self._always or kms_key_arn is not None):
            return None
        return self.provider().make(KeyPurpose(datastore, 1, kms_key_arn))

    def add_key(
        self, conn: Connection, datastore_key: int, purpose: KeyPurpose, made: DataKey, key: int, now: int
    ) -> bool:
        """Keep a key that the provider has made; False if another of its number was kept meanwhile."""
        provider = self.provider(conn).name
        return data_keys.insert(conn, key, datastore_key, purpose.number, made, provider, now)

    def newest_key(self, conn: Connection, datastore_key: int) -> tuple[int, bytes] | None:
        """The row and the data key that seals what is written to a data store; None if it has none yet."""
        found = data_keys.newest(conn, datastore_key)
        return None if found is None else (found.key, self._unwrapped(found, conn))

    def named_key(self, row: int, datastore: str) -> bytes | None:
        """The data key of a row; None if there is no such row.

        Raises `LookupError` if it is not one of this data store, an id of the API.
        """
        with self._db.read() as conn:
            found = data_keys.named(conn, row)
            if found is None:
                return None
            if found.purpose.datastore != datastore:
                raise LookupError(row)
            return self._unwrapped(found, conn)

    def read(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` reads of the database that the keys are in."""
        with self._db.read() as conn:
            return work(conn)

    def seals(self, conn: Connection, datastore_key: int) -> bool:
        """Whether what is written to a data store is sealed."""
        return self._always or data_keys.newest(conn, datastore_key) is not None

    # Reading --------------------------------------------------------------------------------------------

    def known(self, pack: int) -> PackCipher | None:
        """`find`, as far as nobody has to be asked. Raises `LookupError` where somebody has to be."""
        if not pack & 1:
            return None
        until, cipher = self._ciphers[pack]
        if until <= time.monotonic():
            raise LookupError(pack)
        return cipher

    def find(self, pack: int) -> PackCipher | None:
        """What opens a pack; None if it is not sealed. May ask the database and the key provider."""
        with suppress(LookupError):
            return self.known(pack)
        until = time.monotonic() + self._keep
        granted = self._granted(pack)
        cipher = None if granted is None else PackCipher(granted.grant, granted.seal)
        self._remember(pack, until, cipher)
        return cipher

    def forget(self, pack: int) -> None:
        """Ask again: its bytes were wrong."""
        with self._lock:
            entry = self._ciphers.pop(pack, None)
            self._weight -= _weight(entry)

    def grants(self, keys: Iterable[int]) -> tuple[list[PackGrant], list[Refused], list[int]]:
        """What a codec worker needs to read these packs: as `GrantedKeys.add` takes it. Raises nothing."""
        granted: list[PackGrant] = []
        refused: list[Refused] = []
        plain: list[int] = []
        for pack in keys:
            try:
                found = self._granted(pack)
            except _NOT_OPENED as error:
                refused.append((pack, str(error), isinstance(error, StorageUnavailableError)))
            else:
                plain.append(pack) if found is None else granted.append(found)
        return granted, refused, plain

    def _granted(self, pack: int) -> PackGrant | None:
        row = self._db.look_up(data_keys.OF_PACK, (pack,))
        if row is None or row[0] is None:
            return None
        *of_key, is_anothers = row
        seal = of_key.pop(1)
        if is_anothers:
            raise damaged_database(f"The pack {pack:016x} is encrypted for another data store than its own")
        stored = data_keys.of_row(of_key)
        if seal is None:
            raise StorageError(f"The pack {pack:016x} is not finished: there is nothing to read in it yet.")
        return PackGrant(pack, grant_of(self._unwrapped(stored), pack), bytes(seal))

    def _remember(self, pack: int, until: float, cipher: PackCipher | None) -> None:
        entry = until, cipher
        with self._lock:
            self._weight += _weight(entry) - _weight(self._ciphers.pop(pack, None))
            self._ciphers[pack] = entry
            while self._weight > _MOST_BYTES:
                self._weight -= _weight(self._ciphers.pop(next(iter(self._ciphers))))

    # Values of rows -------------------------------------------------------------------------------------

    def value_sealer(self, conn: Connection, datastore_key: int) -> ValueCipher | None:
        """What seals values of a data store now; None if it has no key yet, or had it destroyed."""
        found = data_keys.newest(conn, datastore_key)
        return None if found is None else self._of_values(found, conn)[1]

    def job_sealer(self, conn: Connection, job: int) -> ValueCipher | None:
        """`value_sealer` of the data store that an import job, by its key, imports into."""
        found = data_keys.newest_of_job(conn, job)
        return None if found is None else self._of_values(found, conn)[1]

    def value_ciphers(self, conn: Connection, datastore_key: int) -> list[ValueCipher]:
        """Those of all keys that a data store has, the newest first."""
        living = data_keys.living(conn, datastore_key)
        return outside.together(living, lambda each: self._of_values(each, conn)[1])

    def value_cipher(self, key: int, conn: Connection, image_set: int | None = None) -> ValueCipher:
        """What opens values that the key of this row has sealed.

        ``image_set``: where they were found. Raises `DamagedError` if the key is of another data store.
        """
        entry = self._values.get(key)
        if entry is None or entry[0] <= time.monotonic():
            stored = data_keys.named(conn, key)
            if stored is None:
                raise DamagedError(
                    "The database has lost the key of a data store: restore it from a backup, and see "
                    "`lightwell data verify`."
                )
            others = partial(data_keys.of_store, conn, stored.purpose.datastore)
            entry = outside.first_of(
                stored, others, lambda each: self._of_values(each, conn), passing=_NOT_OPENED
            )
        if image_set is not None and self._store_of(image_set, conn) != entry[2]:
            raise misplaced(image_set, "attributes that are encrypted for another data store")
        return entry[1]

    def _store_of(self, image_set: int, conn: Connection) -> str | None:
        """The id of the data store of an image set, in which it stays."""
        found = self._stores.get(image_set)
        if found is None:
            found = data_keys.store_of_set(conn, image_set)
            if found is not None:
                if len(self._stores) >= _MOST_SETS:
                    self._stores.clear()
                self._stores[image_set] = found
        return found

    def _of_values(self, stored: StoredKey, conn: Connection) -> tuple[float, ValueCipher, str]:
        """(until when it is kept, the cipher, the id of its data store)."""
        entry = self._values.get(stored.key)
        if entry is None or entry[0] <= time.monotonic():
            until = time.monotonic() + self._keep
            cipher = ValueCipher(self._unwrapped(stored, conn), stored.key)
            entry = self._values[stored.key] = until, cipher, stored.purpose.datastore
        return entry

    # Keys -----------------------------------------------------------------------------------------------

    def provider(self, conn: Connection | None = None) -> KeyProvider:
        """The provider of the settings, opened; in a transaction, by its ``conn``.

        Raises `KeyProviderError` where there is none.
        """
        if self._provider is None and outside.may_begin_anew():
            outside.ask("provider", self.provider)
        with self._lock:
            if self._provider is None:
                if self._open is None:
                    raise KeyProviderError(
                        "A data store is encrypted, but this server has no key: give it the "
                        "encryption_key_file of the others, or their key_provider."
                    )
                self._provider = self._patient(self._open, conn)
            return self._provider

    def _patient(self, opener: OpenProvider, conn: Connection | None) -> KeyProvider:
        return PatientProvider(self.read(opener) if conn is None else opener(conn))

    def check(self) -> None:
        """Unwrap one key of each keeper: a server that cannot read what is stored must not start.

        Raises `KeyProviderError`, and `ConfigurationError` for a key file that is missing or wrong. That a
        key service cannot be asked now is logged: what is not encrypted can be served.
        """
        with self._db.read() as conn:
            stored = data_keys.samples(conn)
        for one in stored:
            try:
                self._unwrapped(one)
            except KeyProviderAwayError as error:
                event(_log, logging.WARNING, "key_provider_away", reason=str(error))

    def not_to_be_had(self) -> Iterator[tuple[StoredKey, KeyProviderError | KeyProviderAwayError]]:
        """The keys that cannot be unwrapped now, and why. Of those whose keeper is away, only the first is
        tried.

        Raises `ConfigurationError` for a key file that is missing or wrong.
        """
        away: set[tuple[str, str]] = set()
        after = 0
        while True:
            with self._db.read() as conn:
                page = data_keys.page(conn, after, _PAGE)
            for stored in page:
                after = stored.key
                if (stored.provider, stored.keeper) in away:
                    continue
                try:
                    self.unwrapped_now(stored)
                except KeyProviderAwayError as error:
                    away.add((stored.provider, stored.keeper))
                    yield stored, error
                except KeyProviderError as error:
                    yield stored, error
            if len(page) < _PAGE:
                return

    def open_all(self, conn: Connection, datastore: str) -> None:
        """Ask for all keys of a data store, whose id of the API this is.

        Raises one of `job_values.NO_KEY` where what it holds cannot be opened.
        """
        for stored in data_keys.of_store(conn, datastore):
            self._unwrapped(stored, conn)

    def _unwrapped(self, stored: StoredKey, conn: Connection | None = None, *, spare: float = 0.0) -> bytes:
        """``spare``: for how many seconds more it must not have to be asked for."""
        entry = self._keys.get(stored.key)
        if stored.wrapped is None:
            self._keys.pop(stored.key, None)
            raise KeyDestroyedError(
                f"The data store {stored.purpose.datastore} was deleted, and its key with it: what it held "
                "cannot be read any more."
            )
        if entry is not None and entry[0] > time.monotonic() + spare:
            return entry[1]
        until = time.monotonic() + self._keep
        try:
            plain = self.unwrapped_now(stored, conn)
        except KeyProviderAwayError as error:
            if entry is None:
                raise
            # What was readable until now stays readable while the key service is away.
            event(_log, logging.WARNING, "key_provider_away", reason=str(error))
            until, plain = time.monotonic() + min(self._keep, _AWAY_SECONDS), entry[1]
        except KeyProviderError:
            self._keys.pop(stored.key, None)
            raise
        self._keys[stored.key] = until, plain
        return plain

    def unwrapped_now(self, stored: StoredKey, conn: Connection | None = None) -> bytes:
        """The data key of a row, as its provider unwraps it now."""
        assert stored.wrapped is not None
        provider = self._made_with(stored, conn)
        return provider.unwrap(stored.wrapped, stored.purpose, stored.keeper)

    def _made_with(self, stored: StoredKey, conn: Connection | None) -> KeyProvider:
        current = self.provider(conn)
        if current.name == stored.provider:
            return current
        if stored.provider not in self._opened:
            opener = self._others.get(stored.provider)
            if opener is None:
                raise KeyProviderError(
                    f"The key of data store {stored.purpose.datastore} was made with key_provider = "
                    f"{stored.provider}, but this server has {current.name}."
                )
            if outside.may_begin_anew():
                outside.ask(("provider", stored.provider), lambda: self._made_with(stored, None))
            else:
                self._opened[stored.provider] = self._patient(opener, conn)
        return self._opened[stored.provider]


def _weight(entry: tuple[float, PackCipher | None] | None) -> int:
    if entry is None:
        return 0
    return 128 if entry[1] is None else entry[1].weight
