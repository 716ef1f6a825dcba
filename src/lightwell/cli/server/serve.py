"""``lightwell serve``: everything in one process tree.

The supervisor reads the settings, binds the port, migrates the database to the current schema, creates the
root key, and forks the HTTP workers and the work process, which without work is only their codec pool. It
prints one line to stdout once all HTTP workers accept connections.
"""

from __future__ import annotations

import argparse
import gc
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lightwell.auth.credentials import FILE, write_credentials
from lightwell.auth.principals import Credentials, ensure_root, ensure_secret_box
from lightwell.cli import console_link, flags
from lightwell.cli.environment import command
from lightwell.cli.running_server import ServerLock
from lightwell.cli.server.authorizer_targets import warn_of_targets
from lightwell.cli.server.listening import bind, raise_file_limit
from lightwell.cli.server.network_exposure import check_exposure, listen_addresses
from lightwell.cli.server.ready_file import ReadyFile
from lightwell.cli.server.supervisor import Child, Supervisor, run_in_child_process
from lightwell.clock import Clock, Ids
from lightwell.domain.states import ServerRole
from lightwell.errors import ConfigurationError, LightwellError
from lightwell.observe import logs
from lightwell.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.stores import Stores
    from lightwell.stores.background.servers import Server


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-work",
        dest="setting_work",
        action="store_const",
        const="off",
        help="serve HTTP only: the same as --work off",
    )
    parser.add_argument(
        "--ready-file",
        type=Path,
        metavar="FILE",
        help="write the server's address to this file once it is ready, and remove the file when it stops",
    )
    parser.add_argument(
        "--open",
        action="store_true",
        help="when it is ready, open the console in the browser, signed in, and print the link that does so "
        "(good once, for 10 minutes; `lightwell console` prints another)",
    )
    flags.add(parser)


def run(args: argparse.Namespace) -> int:
    return serve(flags.settings(args), args.ready_file, opens_console=args.open)


def serve(settings: Settings, ready_path: Path | None = None, *, opens_console: bool = False) -> int:
    """Run the server until SIGTERM or SIGINT and return the exit code."""
    gc.disable()  # until the fork: what is imported stays
    from lightwell.cli.store_session import check_owner

    _check_work(settings)
    check_owner(settings)
    # Before the imports that take long: commands wait for a server that has the lock.
    lock = ServerLock(settings)
    ready_file = ReadyFile(ready_path)
    from lightwell import app
    from lightwell.cli.trails.process_trail import process_trail
    from lightwell.cli.trails.start_record import record_start
    from lightwell.web.http1 import server
    from lightwell.web.pages.ohif import check_folder

    logs.configure(settings.log_level, settings.log_format)
    if settings.file is not None:
        # Printed, not logged: the file itself could turn logging off.
        print(f"lightwell: settings from {settings.file}", file=sys.stderr, flush=True)
    if settings.ohif is not None:
        check_folder(settings.ohif)
    tls = server.check_tls(settings, Clock().now())
    row = server_row(settings, ServerRole.SERVE if settings.work == "on" else ServerRole.HTTP)
    check_exposure(settings, listen_addresses(settings.host, settings.port))
    with bind(settings.host, settings.port) as listener:
        port = listener.getsockname()[1]
        lock.describe(settings, port, is_ready=False)
        if status := run_in_child_process(lambda: prepare(settings, row, port)):
            return status
        raise_file_limit()
        count = settings.http_workers
        meter = app.meter(count + 1)
        throttle = app.throttle(settings)
        shared = app.shared_blocks(settings)
        buckets = app.shared_buckets(settings)

        def http(place: int) -> Callable[[Callable[[], None]], int]:
            def main(ready: Callable[[], None]) -> int:
                recorder = meter.join(place)
                with process_trail(settings, f"http-{place}", recorder) as trail:
                    gateway = app.build(settings, recorder, throttle, shared, trail, buckets=buckets)
                    try:
                        server.serve(gateway, listener, ready, tls)
                    finally:
                        app.close(gateway)
                return 0

            return main

        def work(ready: Callable[[], None]) -> int:
            listener.close()
            recorder = meter.join(count)
            with process_trail(settings, name, recorder) as trail:
                record_start(settings, trail)
                return app.work(settings, recorder, row, trail=trail)

        def on_ready() -> None:
            lock.describe(settings, port, is_ready=True)
            ready_file.write(lock.server.url)
            with suppress(OSError):
                print(f"lightwell listening on {url}", flush=True)
                if opens_console:
                    _open_console(settings, lock.server.url)

        url = _url(settings, listener)
        children = [Child(f"http-{place}", http(place), must_be_ready=True) for place in range(count)]
        name = "work" if settings.work == "on" else "pool"
        children.append(Child(name, work, must_be_ready=False, stops_last=True))

        def on_stop() -> None:
            # A socket that any process holds open accepts connections.
            listener.close()
            lock.describe(settings, port, is_ready=False)
            ready_file.remove()
            if opens_console:
                console_link.forget(settings)

        supervisor = Supervisor(children, on_ready=on_ready, on_stop=on_stop, close_in_child=[lock.handle])
        try:
            return supervisor.run()
        finally:
            lock.clear()


def _open_console(settings: Settings, url: str) -> None:
    try:
        link = console_link.recorded_link(settings, url, "serve")
    except LightwellError as error:
        # The server goes on: what it does is on record elsewhere, or refused.
        print(f"lightwell: no link to the console was made: {error}", file=sys.stderr, flush=True)
        return
    print(f"console: {link}", flush=True)
    console_link.open_in_browser(settings, link)


def _check_work(settings: Settings) -> None:
    if settings.work == "off" and settings.database.startswith("sqlite:"):
        raise ConfigurationError(
            "A server without work needs PostgreSQL, where `lightwell worker` does the work: with SQLite no "
            "other process could, so import jobs would wait for ever. Leave out --no-work, or set "
            "LIGHTWELL_DATABASE_URL to a PostgreSQL database"
        )


def server_row(settings: Settings, role: ServerRole) -> Server | None:
    """How other servers on the database know this one; None on SQLite, where there are no others."""
    from lightwell.stores.background.servers import Server
    from lightwell.stores.data_folder.node import Node

    if settings.database.startswith("sqlite:"):
        return None
    place = f"{socket.gethostname()} ({settings.data.absolute()})"
    return Server(Node(settings.data.absolute()).id, place, Ids().id(), role)


def prepare(settings: Settings, server_row: Server | None = None, port: int | None = None) -> int:
    """Make the data folder ready to serve: schema, secret key, root key. May run any number of times.

    ``server_row`` announces this server to the others on the database. ``port`` is the port listened on.
    """
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
        secret_box = ensure_secret_box(stores.db, settings.read_secret_key(), settings.data)
        given = None
        if settings.root_access_key_id and settings.root_secret_access_key:
            given = Credentials(settings.root_access_key_id, settings.root_secret_access_key)

        def enter(conn: Connection, root: str, changes_root: bool) -> None:
            if server_row is not None:
                servers.register(conn, server_row, root, changes_root=changes_root)

        key, is_new = ensure_root(stores.db, secret_box, given, Clock().now(), enter)
        agree_on_storage(stores, server_row)
        warn_of_targets(settings, stores.db)
        if given is None:
            write_credentials(settings.data, key)
        stores.close()
    except LightwellError as error:
        print(f"lightwell: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigurationError) else 1
    if is_new:
        print(
            f"lightwell: created the root access key in {settings.data.resolve() / FILE}; "
            f'run `eval "$({command(settings, port)})"` to use it in a shell',
            file=sys.stderr,
            flush=True,
        )
    return 0


def agree_on_storage(stores: Stores, row: Server | None) -> None:
    """Refuse a storage that is not the database's, and be as if this server had never started.

    Raises `ConfigurationError`.
    """
    from lightwell.stores.background import installation, servers

    try:
        installation.agree_on_storage(stores.db, stores.objects, Ids().id(), row)
    except ConfigurationError:
        if row is not None:
            stores.db.write(lambda conn: servers.deregister(conn, row))
        raise


def _url(settings: Settings, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"{'https' if settings.tls_cert else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
