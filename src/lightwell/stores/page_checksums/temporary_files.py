"""Where SQLite keeps temporary files: in the data folder, since what it sorts and rewrites names patients.

Connections of `stores.db.drivers` have none, they sort in memory. What takes a whole database does not fit
there. SQLite makes such a file with mode 0600 and unlinks it as soon as it is open
(https://sqlite.org/tempfiles.html), so that no crash leaves any of it; what a kill between the two leaves is
empty.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path


def use_files(connection: sqlite3.Connection, folder: Path) -> bool:
    """Let a connection keep what is temporary in files in ``folder``, which must exist.

    False where this SQLite takes no folder, or not this one: then it keeps it in memory. The folder is that
    of the process (https://sqlite.org/c3ref/temp_directory.html); no other connection of it uses any.
    """
    name = str(folder.absolute())
    with suppress(sqlite3.Error):  # it may not be writable
        connection.execute("PRAGMA temp_store_directory = '{}'".format(name.replace("'", "''")))
        if connection.execute("PRAGMA temp_store_directory").fetchone() == (name,):
            connection.execute("PRAGMA temp_store=FILE")
            return True
    connection.execute("PRAGMA temp_store=MEMORY")
    return False
