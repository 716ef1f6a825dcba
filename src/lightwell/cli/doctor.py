"""``lightwell doctor``: one line a check, ok or what is wrong and what to do."""

from __future__ import annotations

import argparse
import fcntl
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lightwell import __version__
from lightwell.cli import flags
from lightwell.cli.network_exposure import addresses, check_exposure
from lightwell.cli.store_session import check_owner, give_to_me, openness
from lightwell.errors import LightwellError
from lightwell.settings import GiB, Settings, worker_environment
from lightwell.stores.data_folder.file_owner import foreign_files, other_owner, untrusted_path

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.stores.background.servers import AwaitedNode
    from lightwell.stores.data_folder.file_modes import ExposedPath

Check = Callable[[Settings], str]


class _Caution(Exception):
    """Nothing is broken, but somebody ought to know: shown as a warning, and the exit code stays 0."""


# Round trips of the codecs are run in a process of their own, as imports do.
_CODECS = """
import numpy as np
from lightwell.imaging.pixels import htj2k, jpeg2000
samples = np.arange(-3000, 1096, dtype=np.int16).reshape(64, 64)
data, head = htj2k.encode(samples, "MONOCHROME2", cross_check=True)
again = htj2k.decode(memoryview(data)[head:], samples.shape, samples.dtype, "MONOCHROME2")
assert np.array_equal(again, samples), "HTJ2K differs"
jpeg2000.encode(samples, "MONOCHROME2")
"""

# What codec workers give up, given up by a process of its own.
_SANDBOX = """
import json
from lightwell.codec_pool.sandbox import confinement, landlock
version = landlock.version()
print(json.dumps([version, confinement.confine([], [], network=False)]))
"""

_MOST_NAMES = 20
_MOST_OPEN = 3  # files and folders
_NOT_CURRENT = "not looked at before the database is migrated"
_SOON = 14 * 86_400_000  # milliseconds


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    flags.add(parser)


def run(args: argparse.Namespace) -> int:
    settings = flags.settings(args)
    rows = []
    for name, check in CHECKS.items():
        try:
            if name in _OPENING and _is_of_others(settings):
                raise LightwellError("not looked at: the data are another user's")
            rows.append({"check": name, "ok": True, "warning": False, "says": check(settings)})
        except _Caution as caution:
            rows.append({"check": name, "ok": True, "warning": True, "says": str(caution)})
        except LightwellError as error:
            rows.append({"check": name, "ok": False, "warning": False, "says": str(error)})
        except Exception as error:
            rows.append(
                {"check": name, "ok": False, "warning": False, "says": f"{type(error).__name__}: {error}"}
            )
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            sign = ("WARN" if row["warning"] else "ok") if row["ok"] else "WRONG"
            print(f"{sign:<5}  {row['check']:<10}  {row['says']}")
    return 0 if all(row["ok"] for row in rows) else 1


def _python(settings: Settings) -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] > (3, 13):
        return f"lightwell {__version__} on Python {version}, newer than those it is tested on (to 3.13)"
    return f"lightwell {__version__} on Python {version}, {settings.cores} cores"


def _settings(settings: Settings) -> str:
    where = sorted(set(settings.sources.values()))
    return f"{len(settings.sources)} set, from {', '.join(where)}" if where else "all are defaults"


def _disk(settings: Settings) -> str:
    place = settings.data.absolute()
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        raise LightwellError(f"this user may not write to {place}: change its owner, or set LIGHTWELL_DATA")
    free = shutil.disk_usage(place).free
    if free < GiB:
        raise LightwellError(f"{free / GiB:.1f} GiB are free at {place}: make room, imports will fail")
    return f"{settings.data.absolute()}, {free / GiB:.0f} GiB free"


def _is_of_others(settings: Settings) -> bool:
    if settings.allow_other_user:
        return False
    return other_owner(settings) is not None or untrusted_path(settings) is not None


def _owner(settings: Settings) -> str:
    if settings.allow_other_user:
        return "any user may work on the data (allow_other_user)"
    foreign = [] if other_owner(settings) is not None else foreign_files(settings)
    if foreign:
        shown = ", ".join(map(str, foreign[:_MOST_NAMES])) + (" …" if len(foreign) > _MOST_NAMES else "")
        raise LightwellError(
            f"{len(foreign)} files and folders belong to another user, and a server of this one may not "
            f"write them: {shown}; as root, `{give_to_me(settings.data.absolute())}`"
        )
    check_owner(settings)
    return "the data are this user's, or not made yet"


def _database(settings: Settings) -> str:
    from lightwell.stores.db.database import Database
    from lightwell.stores.db.schema import schema_state

    if settings.database_url is None and not (settings.data / "lightwell.db").exists():
        return "not made yet; the first start makes it"
    db = Database(settings.database)
    try:
        state = schema_state(db)
        if state == "ahead":
            raise LightwellError("its schema is of a newer lightwell: install that version")
        return (
            f"{db.address}, schema {'current' if state == 'current' else 'to be migrated at the next start'}"
        )
    finally:
        db.close()


@contextmanager
def _current(settings: Settings) -> Iterator[Connection | None]:
    """The database, to be read; None where it has not the schema of this version."""
    from lightwell.stores.db.database import Database
    from lightwell.stores.db.schema import schema_state

    db = Database(settings.database)
    try:
        if schema_state(db) != "current":
            yield None
        else:
            with db.read() as conn:
                yield conn
    finally:
        db.close()


def _encryption(settings: Settings) -> str:
    from lightwell.stores.account import datastores

    if settings.database_url is None and not (settings.data / "lightwell.db").exists():
        return "no data store names a KMS key"
    with _current(settings) as conn:
        if conn is None:
            return _NOT_CURRENT
        found = datastores.with_kms_key(conn)
    if not found:
        return "no data store names a KMS key"
    shown = ", ".join(f"{store.name} ({store.id})" for store in found[:_MOST_NAMES])
    if len(found) > _MOST_NAMES:
        shown += f" and {len(found) - _MOST_NAMES} more"
    raise _Caution(
        f"a kmsKeyArn is kept but encrypts nothing: keep the data of {shown} on an encrypted disk or bucket"
    )


def _jobs(settings: Settings) -> str:
    from lightwell.stores.background import servers

    if settings.database.startswith("sqlite:"):
        return "none can wait for another server"
    with _current(settings) as conn:
        if conn is None:
            return _NOT_CURRENT
        awaited = servers.awaited_nodes(conn)
    if awaited:
        raise LightwellError("; ".join(map(_awaited, awaited)))
    return "none waits for a server that does not run"


def _awaited(one: AwaitedNode) -> str:
    if one.place is None:
        where = f"a server with {one.node} in its node.id, of which nothing is known"
    else:
        where = f"the server on {one.place}, not heard of for {(one.unheard_ms or 0) // 1000} s"
    return f"import jobs on local buckets wait for {where}, {one.jobs} of them: start it, and they go on"


def _storage(settings: Settings) -> str:
    from lightwell.stores.objects.open import open_objects

    if settings.storage_url is None and not (settings.data / "objects").exists():
        return "not made yet; the first start makes it"
    objects = open_objects(
        settings.storage, endpoint_url=settings.storage_endpoint_url, region=settings.region
    )
    try:
        objects.check()
    finally:
        objects.close()
    return f"{settings.storage} can be written"


def _buckets(settings: Settings) -> str:
    root = settings.buckets
    far = settings.s3_endpoint_url or "AWS"
    try:
        if not root.exists():
            return f"{root.absolute()} is not made yet; other buckets are looked up on {far}"
        names = sorted(path.name for path in root.iterdir() if path.is_dir())
    except OSError as error:
        raise LightwellError(f"{root.absolute()}: {error.strerror}; check its owner and mode") from None
    shown = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
    return f"{len(names)} in {root.absolute()}{f' ({shown})' if names else ''}; others on {far}"


def _files(settings: Settings) -> str:
    """Closes to other users what is kept and lightwell owns, and says what was open."""
    from lightwell.stores.data_folder.file_modes import restrict_all

    if not settings.data.exists():
        return "not made yet"
    found = restrict_all(settings, _reports(settings))
    if found:
        raise _Caution(
            "; ".join([*_openness(found, is_restricted=False), *_openness(found, is_restricted=True)])
        )
    return "only this user can read what is kept"


def _openness(found: list[ExposedPath], *, is_restricted: bool) -> Iterator[str]:
    """A sentence for each; where they are many, for the first, and the number of the others."""
    these = [openness(one) for one in found if one.is_restricted is is_restricted]
    if len(these) <= _MOST_OPEN:
        yield from these
    else:
        yield f"{these[0]}; the same holds for {len(these) - 1} others below {found[0].path.parent}"


def _reports(settings: Settings) -> list[Path]:
    """The folders of local buckets that lightwell has written reports into."""
    from lightwell.domain.imports.jobs import split_uri
    from lightwell.stores.jobs import import_jobs

    try:
        with _current(settings) as conn:
            places = [] if conn is None else [split_uri(uri) for uri in import_jobs.output_uris(conn)]
    except LightwellError:
        return []  # the check of the database says more
    return [settings.buckets.absolute() / bucket / folder for bucket, folder in places if folder]


def _secrets(settings: Settings) -> str:
    """Whether the access keys in the database can be decrypted."""
    from lightwell.auth.principals import foreign_keys
    from lightwell.auth.secret_box import FILE, open_secret_box
    from lightwell.stores.account import principals

    is_there = settings.secret_key is not None or (settings.data / FILE).exists()
    secret_box = open_secret_box(settings.secret_key, settings.data) if is_there else None
    with _current(settings) as conn:
        kept = None if conn is None else principals.holding(conn)
        if conn is None or kept is None:
            return "no access key is made yet" if is_there else "not made yet"
        secret_box = secret_box or open_secret_box(None, settings.data)
        secret_box.decrypt(kept.secret)
        foreign = foreign_keys(conn, secret_box)
    if foreign:
        raise LightwellError(
            f"{len(foreign)} access keys were made under another secret key, nobody can sign with them: "
            f"{'; '.join(f'lightwell key revoke {id}' for id in foreign)}"
        )
    return "the secret key opens the access keys in the database"


def _codecs(settings: Settings) -> str:
    done = subprocess.run([sys.executable, "-c", _CODECS], capture_output=True, text=True, timeout=60)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise LightwellError(f"the codecs do not round-trip ({last}): reinstall lightwell's dependencies")
    return "HTJ2K and JPEG 2000 come back exactly, by two decoders"


def _sandbox(settings: Settings) -> str:
    if settings.worker_sandbox == "off":
        raise _Caution(
            "worker_sandbox is off: a file that takes a codec worker over may do what this user may do; "
            "set it to on"
        )
    done = subprocess.run(
        [sys.executable, "-P", "-c", _SANDBOX],
        capture_output=True,
        text=True,
        timeout=60,
        env=worker_environment(network=False),
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise LightwellError(
            f"a process cannot be confined as codec workers are ({last}): set LIGHTWELL_WORKER_SANDBOX=off, "
            "which starts them without, and report it please"
        )
    version, missing = json.loads(done.stdout)
    if missing:
        raise _Caution(f"everything works, but codec workers are confined less: {'; '.join(missing)}")
    return f"codec workers have no_new_privs, a seccomp filter and Landlock (version {version})"


def _clock(settings: Settings) -> str:
    now = time.time()
    newest = max((p.stat().st_mtime for p in (settings.data, Path(__file__)) if p.exists()), default=0)
    if now < newest - 86400:
        raise LightwellError("the clock is behind the files of this machine: set it, signatures depend on it")
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)) + "; clients must be within 15 minutes of it"


def _tls(settings: Settings) -> str:
    from lightwell.auth import certificate

    if settings.tls_cert is None or settings.tls_key is None:
        return "no certificate is set"
    certificate.load(settings.tls_cert, settings.tls_key)
    found, now = certificate.validity(settings.tls_cert), time.time_ns() // 1_000_000
    if fault := found.fault(now):
        raise LightwellError(f"the certificate in {settings.tls_cert} {fault}")
    if found.fault(now + _SOON):
        raise _Caution(f"the certificate in {settings.tls_cert} expires soon, on {found.until()}: renew it")
    return f"{settings.tls_cert} with its key, valid until {found.until()}"


def _port(settings: Settings) -> str:
    check_exposure(settings, addresses(settings))
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "") else settings.host  # noqa: S104
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.settimeout(2)
        if settings.port == 0 or probe.connect_ex((host, settings.port)):
            return f"nothing listens on {host}:{settings.port}; `lightwell serve` can"
    connection: http.client.HTTPConnection
    if settings.tls_cert:
        context = ssl._create_unverified_context()  # noqa: S323
        connection = http.client.HTTPSConnection(host, settings.port, timeout=5, context=context)
    else:
        connection = http.client.HTTPConnection(host, settings.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(4096).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise LightwellError(f"what listens on {host}:{settings.port} does not speak HTTP: {error}") from None
    finally:
        connection.close()
    if answer.getheader("x-amzn-RequestId") is None:
        raise LightwellError(f"another program listens on {host}:{settings.port}: choose another port")
    if answer.status != 200:
        raise LightwellError(f"lightwell on {host}:{settings.port} is not ready: {body}; its log says why")
    if not _is_served(settings):
        raise _Caution(
            f"lightwell on {host}:{settings.port} is ready, but does not serve {settings.data.absolute()}: "
            "check --data and --port"
        )
    return f"lightwell answers on {host}:{settings.port} and is ready"


def _is_served(settings: Settings) -> bool:
    """Whether a server holds the data folder; True where that cannot be seen."""
    from lightwell.cli.serve import LOCK

    try:
        with (settings.data / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


# What opens the stores, and so leaves files of this user in them.
_OPENING = ("database", "jobs", "storage", "encryption", "files", "secrets")

CHECKS: dict[str, Check] = {
    "version": _python,
    "settings": _settings,
    "disk": _disk,
    "owner": _owner,
    "database": _database,
    "jobs": _jobs,
    "storage": _storage,
    "encryption": _encryption,
    "buckets": _buckets,
    "files": _files,
    "secrets": _secrets,
    "codecs": _codecs,
    "sandbox": _sandbox,
    "clock": _clock,
    "tls": _tls,
    "port": _port,
}
