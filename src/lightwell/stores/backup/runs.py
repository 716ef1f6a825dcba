"""What stands at the destination of backups: the runs, the packs and pieces of databases that they name.

::

    backup.json            whose backup it is
    packs/ab/KEY.pack      packs as they are in the storage, under the same names, each once
    database/SHA256        a piece of the database of a run, see `stores.backup.pieces`
    runs/ID.packs          the packs that the database of a run names, with sizes and checksums
    runs/ID.json           the manifest, written last: without it there is no such run
    keys/ID                the key files that open the run, encrypted under the recovery key
    keys/current           the same, for all runs of older versions, as of the newest of those

All of it is written once and never changed, but for what `prune` removes.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import zstandard

from lightwell.domain.integrity import PackToVerify
from lightwell.errors import ConfigurationError, DamagedError
from lightwell.stores.background.installation import MARKER
from lightwell.stores.objects.interface import Objects
from lightwell.stores.objects.pack_objects import key_of

_OWNER = "backup.json"
_FORMAT = 1
_RUN_FORMATS = (1, 2)  # 2: with `Run.key_files`; who does not know that would take keys of another run
_NUMBERED = re.compile(r"[0-9T.]+Z-([0-9]{1,18})-[0-9a-f]+")
_KEYS_OF_OLDER = "keys/current"
_PACK = struct.Struct("<QQI")
_MOST_LISTED = 1 << 32  # bytes that a list of packs may become, against a forged one


@dataclass(frozen=True, slots=True)
class DamagedPack:
    """A pack that could not be copied, since its bytes in the storage are not what was written there."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One backup. ``id`` is the time (UTC), the number of the run and a random part: `Backups.new_id`.

    ``version`` is that of lightwell, ``schema`` the revision of the database, ``database`` its kind.
    Times are ms since the epoch by the database's clock: everything that was committed at ``begun_at`` is in
    the run. ``packs`` and ``pack_bytes`` are all that its database names, ``damaged`` those of them that it
    lacks. ``pieces`` are the SHA-256 of the pieces of the database, in order; ``rows`` how many rows its
    tables have. ``key_files`` are the names of those that `Backups.keys_of` has; None for a run of an older
    version, which notes only whether it has any.
    """

    id: str
    version: str
    schema: str
    database: str
    begun_at: int
    snapshot_at: int
    packs: int
    pack_bytes: int
    packs_sha256: str
    pieces: list[str]
    database_bytes: int
    rows: dict[str, int]
    has_keys: bool
    key_files: list[str] | None = None
    damaged: list[DamagedPack] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Pruned:
    """How much `Backups.prune` has removed."""

    runs: int = 0
    packs: int = 0
    pieces: int = 0


class Backups:
    """The backups in one place."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects

    def claim(self, source: str, *, takes_over: bool = False) -> None:
        """Make the place that of backups of the installation ``source``, the id of its storage.

        With ``takes_over`` it may have been another installation's, which was restored or moved to this one.
        Raises `ConfigurationError` if it is anything else.
        """
        where = self.objects.address
        if self.objects.exists(MARKER):
            raise ConfigurationError(
                f"{where} is the storage of an installation, not a place for backups: give another place"
            )
        found = self.objects.get(_OWNER)
        if found is None:
            if next(self.objects.list(), None) is not None:
                raise ConfigurationError(f"{where} is not empty, and no backup: give an empty place")
        else:
            owner = self._checked_format(_OWNER, found)["installation"]
            if owner == source:
                return
            if not takes_over:
                raise ConfigurationError(
                    f"{where} has backups of another installation, of which this one would remove packs: "
                    "give an empty place; or, if that installation was restored or moved to this one and is "
                    "used no more, --take-over"
                )
        self.objects.put(_OWNER, json.dumps({"format": _FORMAT, "installation": source}).encode())

    def runs(self) -> list[str]:
        """The ids of all runs, oldest first: by their numbers, not by their times: a clock may be wrong.

        Those of older versions have no numbers, and come first, by their times. Raises `ConfigurationError`
        if it is no place of backups.
        """
        found = self.objects.get(_OWNER)
        if found is None:
            raise ConfigurationError(
                f"{self.objects.address} is no backup: it has no {_OWNER}. Name what was given to `lightwell "
                "data backup`"
            )
        self._checked_format(_OWNER, found)
        names = (name for name, _ in self.objects.list("runs"))
        ids = (name[len("runs/") : -len(".json")] for name in names if name.endswith(".json"))
        return sorted(ids, key=lambda id: (_number(id), id))

    def new_id(self, begun_at: int, part: str) -> str:
        """The id of a run that began at this time, in ms since the epoch; ``part`` is a random one.

        Its number is one more than that of any other run.
        """
        names = (name[len("runs/") :].rpartition(".")[0] for name, _ in self.objects.list("runs"))
        number = 1 + max(map(_number, names), default=0)
        moment = datetime.fromtimestamp(begun_at / 1000, UTC)
        return f"{moment:%Y%m%dT%H%M%S}.{begun_at % 1000:03}Z-{number}-{part}"

    def run(self, id: str) -> Run:
        """Raises `ConfigurationError` if there is no such run, `DamagedError` if it is not as written."""
        name = f"runs/{id}.json"
        data = self.objects.get(name)
        if data is None:
            raise ConfigurationError(f"{self.objects.address} has no run {id}: --list shows them")
        found = self._checked_format(name, data, _RUN_FORMATS)
        try:
            body = found["run"]
            if hashlib.sha256(_canonical(body)).hexdigest() != found["sha256"]:
                raise ValueError
            if body["id"] != id:
                raise ValueError  # such as a copy under another name, which would name other keys
            return Run(**{**body, "damaged": [DamagedPack(**each) for each in body["damaged"]]})
        except (KeyError, TypeError, ValueError):
            raise _damaged(self.objects, name) from None

    def packs_of(self, run: Run) -> Iterator[PackToVerify]:
        """The packs of a run in key order; their data stores are not told. Raises `DamagedError`."""
        name = f"runs/{run.id}.packs"
        data = self.objects.get(name)
        if data is None or hashlib.sha256(data).hexdigest() != run.packs_sha256:
            raise _damaged(self.objects, name)
        plain = zstandard.ZstdDecompressor().decompress(data, max_output_size=_MOST_LISTED)
        for key, size, checksum in _PACK.iter_unpack(plain):
            yield PackToVerify(key, 0, size, checksum)

    def put_packs(self, id: str, packs: Iterable[PackToVerify]) -> str:
        """Write the list of packs of a run, which must come in key order; returns its SHA-256."""
        plain = b"".join(_PACK.pack(pack.key, pack.size, pack.checksum) for pack in packs)
        data = zstandard.ZstdCompressor(level=3).compress(plain)
        self.objects.put(f"runs/{id}.packs", data)
        return hashlib.sha256(data).hexdigest()

    def put_keys(self, id: str, sealed: bytes) -> None:
        """Write the key files of a run, encrypted."""
        self.objects.put(f"keys/{id}", sealed)

    def keys_of(self, run: Run) -> tuple[str, bytes] | None:
        """The key files of a run, encrypted, and where they are; None if it was made without.

        Raises `DamagedError` if they are missing.
        """
        name = _KEYS_OF_OLDER if run.key_files is None else f"keys/{run.id}"
        if run.key_files == []:
            return None
        data = self.objects.get(name)
        if data is None and run.has_keys:
            raise _damaged(self.objects, name)
        return None if data is None else (f"{self.objects.address}/{name}", data)

    def commit(self, run: Run) -> None:
        """Write the manifest: from now on there is the run."""
        body = asdict(run)
        digest = hashlib.sha256(_canonical(body)).hexdigest()
        whole = {"format": _RUN_FORMATS[-1], "sha256": digest, "run": body}
        self.objects.put(f"runs/{run.id}.json", json.dumps(whole, indent=1).encode())

    def withdraw(self, id: str) -> None:
        """Take the manifest of a run away: there is no such run."""
        self.objects.delete(f"runs/{id}.json")

    def stored_packs(self) -> dict[int, int]:
        """The sizes of all packs that are there, by key."""
        found = ((key_of(name), size) for name, size in self.objects.list("packs"))
        return {key: size for key, size in found if key is not None}

    def prune(self, keep: int, made: str) -> Pruned:
        """Remove all runs but ``made``, which was just made, and the newest ``keep``; then the packs, pieces
        and keys that no run names any more.

        Only while nobody else makes a backup here. One that was interrupted is made good by the next.
        """
        runs = self.runs()
        # Read before anything is removed: one that is damaged must not take those before it with it.
        staying = {*runs[-keep:], made}
        kept = [self.run(id) for id in runs if id in staying]
        names = {f"runs/{run.id}{end}" for run in kept for end in (".json", ".packs")}
        keys = {_KEYS_OF_OLDER if run.key_files is None else f"keys/{run.id}" for run in kept}
        pieces = {piece for run in kept for piece in run.pieces}
        packs = {pack.key for run in kept for pack in self.packs_of(run)}
        for id in set(runs) - staying:
            self.objects.delete(f"runs/{id}.json")
        self._remove("runs", lambda name: name in names)
        self._remove("keys", lambda name: name in keys)
        gone_pieces = self._remove("database", lambda name: name.rpartition("/")[2] in pieces)
        gone_packs = self._remove("packs", lambda name: key_of(name) in packs)
        return Pruned(len(runs) - len(kept), gone_packs, gone_pieces)

    def _remove(self, folder: str, is_kept: Any) -> int:
        gone = [name for name, _ in self.objects.list(folder) if not is_kept(name)]
        for name in gone:
            self.objects.delete(name)
        return len(gone)

    def _checked_format(self, name: str, data: bytes, formats: Sequence[int] = (_FORMAT,)) -> dict[str, Any]:
        try:
            found = json.loads(data)
            number = found["format"]
        except (ValueError, TypeError, KeyError):
            raise _damaged(self.objects, name) from None
        if number not in formats:
            raise ConfigurationError(
                f"{self.objects.address}/{name} was written by a newer lightwell: install that version"
            )
        return dict(found)


def newest(ids: Sequence[str]) -> str | None:
    """The newest of the ids of runs."""
    return ids[-1] if ids else None


def later_than(ids: Iterable[str], moment: int) -> list[str]:
    """Those of the ids of runs that say that they are of a time after ``moment``, ms since the epoch."""
    limit = f"{datetime.fromtimestamp(moment / 1000, UTC):%Y%m%dT%H%M%S}.{moment % 1000:03}Z"
    return [id for id in ids if id.partition("-")[0] > limit]


def _number(id: str) -> int:
    """The number in the id of a run; 0 for one of an older version."""
    found = _NUMBERED.fullmatch(id)
    return 0 if found is None else int(found[1])


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def _damaged(objects: Objects, name: str) -> DamagedError:
    return DamagedError(
        f"{objects.address}/{name} is missing or damaged: take another run (--list shows them) or another "
        "copy of the backup"
    )
