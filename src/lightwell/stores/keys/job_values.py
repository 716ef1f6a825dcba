"""What the rows of import jobs hold of files and patients, sealed with the key of the job's data store.

Names of files are often patients' names; reasons may quote what a file says. Each is bound to its column, its
job and the number of its file, chunk or unit. A column of text holds `_MARK` and base64; a text that itself
begins with it has `_PLAIN` before it. Rows of data stores without a key, and those that were written before
they had one, are read as they are.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection

from lightwell.errors import ConfigurationError, DamagedError
from lightwell.sealing.providers.interface import KeyProviderAwayError, KeyProviderError
from lightwell.stores.db.errors import damaged_database
from lightwell.stores.keys import values
from lightwell.stores.keys.data_keys import KeyDestroyedError

if TYPE_CHECKING:
    from lightwell.sealing.values import ValueCipher

INPUT_FILE = b"staged.input_file"
WARNINGS = b"staged.warnings"
"""These two are copied to ``outcome`` in SQL, and so bear the same name there."""
GROUPING = b"staged.grouping"
MESSAGE = b"outcome.message"
FILES = b"chunk.files_z"
DEATHS = b"chunk.deaths"
CONTENT = b"unit.content"
NOTE = b"unit.note"
CONFIGURATION = b"import_job.configuration"
SOURCE = b"import_job.source"
JOB_MESSAGE = b"import_job.message"
UPLOAD = b"upload.name"

_GONE = "(encrypted with a key that was destroyed with its data store)"
_NOT_NOW = "(encrypted with a key that is not to be had now)"
_DAMAGED = "(damaged in the database: not what was stored)"
_UNSEALED = "The reason could not be kept, since the key that would encrypt it is not to be had."

NO_KEY = (KeyDestroyedError, ConfigurationError, KeyProviderAwayError, KeyProviderError)
"""What is raised where the key of a job's data store is not to be had, now or ever again."""

_MARK = "{sealed}"
_PLAIN = "{sealed}="  # no base64 begins so

Text = TypeVar("Text", str, str | None)
Value = TypeVar("Value", bytes, bytes | None)


def sealer(conn: Connection, job: int) -> ValueCipher | None:
    """What seals the values of a job now; None if they are not sealed. Raises `StorageError`."""
    ring = values.ring_of(conn)
    return None if ring is None else ring.job_sealer(conn, job)


def seal(by: ValueCipher | None, place: bytes, job: int, number: int, value: Value) -> Value:
    """What a row holds of a value, which is JSON or a zstd frame; ``number`` is 0 for the job itself."""
    return value if by is None or value is None else by.seal(_about(place, job, number), value)


def opened(conn: Connection, place: bytes, job: int, number: int, value: bytes) -> bytes:
    """The inverse of `seal`. Raises as `values.opened` does."""
    return values.opened_about(conn, _about(place, job, number), value)


def seal_text(by: ValueCipher | None, place: bytes, job: int, number: int, text: Text) -> Text:
    """What a row holds of a text."""
    if text is None:
        return text
    if by is None:
        return _PLAIN + text if text.startswith(_MARK) else text
    return _MARK + b64encode(by.seal(_about(place, job, number), text.encode())).decode()


def opened_text(conn: Connection, place: bytes, job: int, number: int, text: Text) -> Text:
    """The inverse of `seal_text`. Raises as `opened` does."""
    if text is None or not text.startswith(_MARK):
        return text
    if text.startswith(_PLAIN):
        return text[len(_PLAIN) :]
    return _opened(conn, _about(place, job, number), text)


def seal_reason(conn: Connection, place: bytes, job: int, number: int, text: Text) -> Text:
    """`seal_text` for why a job or unit has ended: that it ends must not depend on its key."""
    if text is None:
        return text
    try:
        return seal_text(sealer(conn, job), place, job, number, text)
    except NO_KEY:
        return _UNSEALED


def shown_text(conn: Connection, place: bytes, job: int, number: int, text: Text) -> Text:
    """`opened_text` for a person: a remark where the key is gone or not to be had, or the text is damaged.

    Lists have it of many rows, and one of them must not keep the others from being shown.
    """
    try:
        return opened_text(conn, place, job, number, text)
    except KeyDestroyedError:
        return _GONE
    except NO_KEY:
        return _NOT_NOW
    except DamagedError:
        return _DAMAGED


def seal_alike(by: ValueCipher | None, job: int, grouping: str) -> str:
    """What ``staged.grouping`` holds: JSON, or what is equal for equal values of one job and key."""
    if by is None:
        return grouping
    return _MARK + b64encode(by.seal_alike(_about(GROUPING, job, 0), grouping.encode())).decode()


def opened_grouping(conn: Connection, job: int, grouping: str) -> str:
    """The inverse of `seal_alike`. Raises as `opened` does."""
    about = _about(GROUPING, job, 0)
    return _opened(conn, about, grouping) if grouping.startswith(_MARK) else grouping


def _opened(conn: Connection, about: bytes, text: str) -> str:
    from lightwell.sealing.values import is_sealed

    try:
        sealed = b64decode(text[len(_MARK) :], validate=True)
    except ValueError:
        sealed = b""
    if not is_sealed(sealed):
        raise damaged_database("A sealed text of an import job is not what was stored")
    return values.opened_about(conn, about, sealed).decode()


def _about(place: bytes, job: int, number: int) -> bytes:
    return b"%s %x %x" % (place, job, number)
