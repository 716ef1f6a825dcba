"""How PostgreSQL's own programs are told which database to use, without anybody seeing its password."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lightwell.stores.db.errors import masked

_SAID = 2000


@contextmanager
def connection_options(url: str, spool: Path) -> Iterator[str]:
    """What goes behind ``--dbname=``: the URL without its password, which is in a file of this user alone.

    What a program is called with, every user of the machine can read.
    """
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    options = conninfo_to_dict(url)
    password = options.pop("password", None)
    with tempfile.NamedTemporaryFile("w", prefix="pg-", dir=spool) as file:  # mode 0600
        if password is not None:
            plain = str(password).replace("\\", "\\\\").replace(":", "\\:")
            file.write(f"*:*:*:*:{plain}\n")
            file.flush()
            options["passfile"] = file.name
        yield make_conninfo("", **{name: str(value) for name, value in options.items()})


def failure(program: str, said: IO[bytes]) -> str:
    """A sentence about a program that has failed, with what it said."""
    said.seek(0)
    # Lines of context repeat rows, which are names of people.
    lines = [line.decode(errors="replace").strip() for line in said.read(_SAID * 10).splitlines()]
    told = [line for line in lines if "error:" in line.lower() or "fatal:" in line.lower()] or lines[:1]
    return f"{program} failed: {masked(' '.join(told))[:_SAID] or 'it said nothing'}"
