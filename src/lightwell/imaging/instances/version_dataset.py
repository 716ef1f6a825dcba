"""The data set of a version without its pixels, as a pydicom `Dataset`, and its encapsulated document."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from lightwell.domain.image_sets.edits import NO_EDITS, Edits
from lightwell.imaging.errors import RenderFailure
from lightwell.imaging.instances.writer import write_part10

_PDF = "application/pdf"
_PYDICOM_ERRORS = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, NotImplementedError),
    *(EOFError, RecursionError, struct.error, BytesLengthException, InvalidDicomError),
)
"""What pydicom raises for invalid values."""


@contextmanager
def pydicom_errors() -> Iterator[None]:
    """A context for reading attributes of a `version_dataset`: errors of pydicom become `RenderFailure`.

    pydicom converts values only when they are accessed. Its warnings are suppressed: the import gave them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except _PYDICOM_ERRORS as error:
            raise RenderFailure(f"The attributes of the instance are not valid: {error}") from error


def version_dataset(
    original: bytes, override: Mapping[str, object] | None = None, edits: Edits = NO_EDITS
) -> Dataset:
    """The attributes of a version, read lazily; to be used within `pydicom_errors`.

    ``original`` is as `imaging.dataset.original_container` returns it, ``override`` is the metadata override
    of its import, and ``edits`` are the later changes. Raises `InputError`.
    """
    file = io.BytesIO()
    write_part10(file, original, None, override, edits)
    file.seek(0)
    return pydicom.dcmread(file)


def encapsulated_document(dataset: Dataset) -> tuple[str, bytes] | None:
    """The media type and bytes of an encapsulated document that browsers can show, None without one.

    Only PDF: browsers would execute others, such as CDA or models, by their declared type (PS3.3 C.24.2).
    """
    value = dataset.get("EncapsulatedDocument")
    media_type = str(dataset.get("MIMETypeOfEncapsulatedDocument", "")).strip().lower()
    if not isinstance(value, bytes) or media_type != _PDF or b"%PDF-" not in value[:1024]:
        return None
    length = dataset.get("EncapsulatedDocumentLength")
    if isinstance(length, int) and 0 <= len(value) - length <= 1:
        value = value[:length]
    return _PDF, value
