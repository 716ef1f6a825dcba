"""``lightwell worker``: background work without HTTP, for servers that share a database and a storage.

It needs the database and the storage, no port, and no secret: it works on import jobs, collects what nothing
refers to any more, and delivers events. On SIGTERM it gives back what it holds and ends.
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from lightwell.cli import flags
from lightwell.cli.server.listening import bind, raise_file_limit
from lightwell.cli.server.ready_file import ReadyFile
from lightwell.cli.server.supervisor import Child, Supervisor, run_in_child_process
from lightwell.domain.states import ServerRole
from lightwell.errors import ConfigurationError, LightwellError
from lightwell.observe import logs
from lightwell.settings import Settings

if TYPE_CHECKING:
    from lightwell.stores.background.servers import Server

# A worker that was just killed may still hold its data folder.
_LOCK_SECONDS = 3.0
_FLAGS = (
    *flags.PLACES,
    *("s3_endpoint_url", "buckets_dir", "codec_workers", "worker_memory", "worker_sandbox", "file_timeout"),
    *("status_port", "status_host", "deliver_events", "events_file", "events_rotate_bytes"),
    *("collect_interval", "collect_grace", "audit_full", "audit_key_file", "log_level", "log_format"),
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ready-file",
        type=Path,
        metavar="FILE",
        help="write a line to this file once the worker works, and remove the file when it stops",
    )
    flags.add(parser, _FLAGS)


def run(args: argparse.Namespace) -> int:
    return work(flags.settings(args), args.ready_file)


def work(settings: Settings, ready_path: Path | None = None) -> int:
    """Work until SIGTERM or SIGINT and return the exit code."""
    gc.disable()  # until the fork: what is imported stays
    from lightwell import app
    from lightwell.cli.server.serve import server_row
    from lightwell.cli.store_session import check_owner, make_data_folder
    from lightwell.cli.trails.process_trail import process_trail
    from lightwell.cli.trails.start_record import record_start

    # HTTP processes that share the data folder have a codec pool of their own.
    settings = replace(settings, work="on", pool="none")
    _check_database(settings)
    check_owner(settings)
    make_data_folder(settings)
    _check_folder_is_free(settings)
    ready_file = ReadyFile(ready_path)
    logs.configure(settings.log_level, settings.log_format)
    if settings.file is not None:
        print(f"lightwell: settings from {settings.file}", file=sys.stderr, flush=True)
    row = server_row(settings, ServerRole.WORKER)
    assert row is not None, "the database is PostgreSQL"
    listener = None
    if settings.status_port:
        listener = bind(settings.status_host, settings.status_port, "--status-port")
    with closing(listener or socket.socket()):
        if status := run_in_child_process(lambda: _prepare(settings, row)):
            return status
        raise_file_limit()
        meter = app.meter(1)

        def main(ready: Callable[[], None]) -> int:
            recorder = meter.join(0)
            with process_trail(settings, "work", recorder) as trail:
                record_start(settings, trail)
                return app.work(settings, recorder, row, status=listener, on_ready=ready, trail=trail)

        def on_ready() -> None:
            said = f"worker is process {os.getpid()}"
            if listener is not None:
                host, port = listener.getsockname()[:2]
                said += f", status at http://{f'[{host}]' if ':' in host else host}:{port}"
            ready_file.write(said)
            with suppress(OSError):
                print(f"lightwell {said}", flush=True)

        supervisor = Supervisor(
            [Child("work", main, must_be_ready=True)],
            on_ready=on_ready,
            on_stop=ready_file.remove,
            close_in_child=[],
        )
        return supervisor.run()


def _check_database(settings: Settings) -> None:
    if settings.database.startswith("sqlite:"):
        raise ConfigurationError(
            "A worker needs the PostgreSQL database that its servers use, but the settings name "
            f"{settings.database}: set LIGHTWELL_DATABASE_URL to the one of the servers. With SQLite, "
            "`lightwell serve` does all work itself"
        )


def _check_folder_is_free(settings: Settings) -> None:
    """Raises `LightwellError` if another process works on the data folder."""
    from lightwell.work.engine_lock import EngineLock

    lock, until = EngineLock(settings.data), monotonic() + _LOCK_SECONDS
    while (holder := lock.holder()) is not None:
        if monotonic() > until:
            raise LightwellError(
                f"Process {holder} works on the data folder {settings.data} already: stop it, or give this "
                "worker a folder of its own with --data or LIGHTWELL_DATA"
            )
        sleep(0.1)


def _prepare(settings: Settings, row: Server) -> int:
    """Make data folder and schema ready; as for a server, but without keys."""
    from lightwell.cli.server.serve import agree_on_storage
    from lightwell.cli.store_session import ensure_audit_keys, restrict_access
    from lightwell.stores import open_stores
    from lightwell.stores.background import servers
    from lightwell.stores.db.open import check_pages, migrate_database

    try:
        restrict_access(settings, warn=True)
        stores = open_stores(settings)
        ensure_audit_keys(settings)
        migrate_database(settings, stores.db)
        check_pages(settings, stores.db)
        stores.keys.check()
        stores.db.write(lambda conn: servers.register(conn, row, "", changes_root=False))
        agree_on_storage(stores, row)
        stores.close()
    except LightwellError as error:
        print(f"lightwell: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigurationError) else 1
    return 0
