"""The data set of a version without its pixels, as pydicom reads it; and documents that lie in one."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from lightwell.domain.image_sets.edits import NONE, Edits
from lightwell.imaging.errors import RenderFailure
from lightwell.imaging.instances.writer import write_part10

_PDF = "application/pdf"
_STUMBLES = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, NotImplementedError),
    *(EOFError, RecursionError, struct.error, BytesLengthException, InvalidDicomError),
)
"""What pydicom raises where values are not as they should be."""


@contextmanager
def reading() -> Iterator[None]:
    """While pydicom works at a data set of ours: what it only warns of was said at import.

    What it stumbles over becomes a `RenderFailure`: it looks at values only when it is asked for them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except _STUMBLES as error:
            raise RenderFailure(f"The attributes of the instance cannot be used: {error}") from error


def data_set(original: bytes, override: Mapping[str, object] | None = None, edits: Edits = NONE) -> Dataset:
    """The attributes of a version, read lazily; to be used within `reading`.

    ``original`` is as `imaging.dataset.original_container` gives it, ``override`` what was laid over it at
    import and ``edits`` what was changed since. Raises `InputError`.
    """
    file = io.BytesIO()
    write_part10(file, original, None, override, edits)
    file.seek(0)
    return pydicom.dcmread(file)


def document(data_set: Dataset) -> tuple[str, bytes] | None:
    """The media type and bytes of an encapsulated document that browsers show, None without one.

    That is PDF alone: others, such as CDA or models, would run as what they say they are (PS3.3 C.24.2).
    """
    value = data_set.get("EncapsulatedDocument")
    kind = str(data_set.get("MIMETypeOfEncapsulatedDocument", "")).strip().lower()
    if not isinstance(value, bytes) or kind != _PDF or b"%PDF-" not in value[:1024]:
        return None
    length = data_set.get("EncapsulatedDocumentLength")
    if isinstance(length, int) and 0 <= len(value) - length <= 1:
        value = value[:length]
    return _PDF, value
