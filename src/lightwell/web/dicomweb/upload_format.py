"""What an upload is, by its headers: DICOM files, or metadata with bulk data; and how it is compressed.

Source: PS3.18 §8.7.3.5, §10.5.1.4, RFC 2046 §5.1, RFC 2387, RFC 9110 §8.4 (content codings), RFC 1952 (gzip).
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from lightwell.errors import MediaTypeError, TooLargeError, ValidationError
from lightwell.operations.dicomweb.store import DocumentKind
from lightwell.web.dicomweb.media import DICOM_JSON, DICOM_XML, MULTIPART
from lightwell.web.requests.negotiation import unquoted

DICOM = "application/dicom"
_DOCUMENTS: dict[str, DocumentKind] = {DICOM_JSON: "json", DICOM_XML: "xml"}

_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')
# RFC 2046 §5.1.1, and the other characters that clients use.
_BOUNDARY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?")

_STORABLE = (
    f"The server stores {DICOM}, {DICOM_JSON} and {DICOM_XML}, by themselves or as parts of multipart/related"
)

# So much is inflated at a time.
_STEP = 1 << 20
# As for a deflated data set (`imaging.dataset.part10`): real images stay far below.
_RATIO, _RATIO_FROM = 200, 256 << 20


@dataclass(frozen=True, slots=True)
class UploadFormat:
    """``delimiter`` is the boundary of a multipart body, None for a body that is one part.

    ``document`` is how metadata are written, None for DICOM files.
    """

    delimiter: bytes | None
    document: DocumentKind | None = None


def upload_format(content_type: bytes | None) -> UploadFormat:
    """Read the Content-Type of a store request.

    Raises `MediaTypeError` for what cannot be stored, `ValidationError` for a multipart type without a
    boundary.
    """
    kind, parameters = media_type((content_type or b"").decode("latin-1"))
    if kind == DICOM or kind in _DOCUMENTS:
        return UploadFormat(None, _DOCUMENTS.get(kind))
    if kind != MULTIPART:
        raise MediaTypeError(f"{_STORABLE}, not {kind or 'a body without a Content-Type'}.")
    inner = parameters.get("type", DICOM).partition(";")[0].strip().lower()
    if inner != DICOM and inner not in _DOCUMENTS:
        raise MediaTypeError(f"{_STORABLE}, not parts of {inner}.")
    found = parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(found):
        raise ValidationError("The Content-Type multipart/related needs a boundary parameter.")
    return UploadFormat(found.encode("latin-1"), _DOCUMENTS.get(inner))


def media_type(text: str) -> tuple[str, dict[str, str]]:
    """A media type in lower case, and its parameters by their names in lower case."""
    parameters: dict[str, str] = {}
    for name, value in _PARAMETER.findall(text):
        parameters.setdefault(name.lower(), unquoted(value.strip()))
    return text.partition(";")[0].strip().lower(), parameters


def inflater_for(content_encoding: bytes | None) -> Inflater | None:
    """What inflates the body, None for one that is as it is.

    Raises `MediaTypeError` for any coding but gzip (RFC 9110 §15.5.16). ``aws-chunked`` is not a coding of
    the body itself: a client that signs so may still send it plain.
    """
    coding = (content_encoding or b"").decode("latin-1").strip()
    names = [name.strip().lower() for name in coding.split(",")]
    kept = [name for name in names if name not in ("", "identity", "aws-chunked")]
    if not kept:
        return None
    if kept in (["gzip"], ["x-gzip"]):
        return Inflater()
    raise MediaTypeError(
        f"The server does not accept Content-Encoding: {coding[:40]}. Send the body as it is, "
        "or once in gzip."
    )


class Inflater:
    """Inflates a gzip body of one or more members, piece by piece; `step` may run in a thread."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._waiting = b""
        self._begun = False
        self._received = 0
        self._inflated = 0

    @property
    def has_more(self) -> bool:
        """Whether `step` may return more of what was added."""
        return bool(self._waiting)

    def add(self, data: bytes) -> None:
        """The next piece of the body; `step` has returned all of the last one."""
        self._waiting += data
        self._received += len(data)

    def step(self) -> bytes:
        """Up to a megabyte more; b"" if more of the body is needed.

        Raises `ValidationError` for a damaged body, `TooLargeError` for one that inflates as no image does.
        """
        try:
            while self._waiting:
                if self._member.eof:
                    self._member = zlib.decompressobj(wbits=31)
                data = self._member.decompress(self._waiting, _STEP)
                self._begun = True
                self._waiting = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
                if data:
                    self._inflated += len(data)
                    if self._inflated > max(_RATIO_FROM, _RATIO * self._received):
                        raise TooLargeError(
                            f"The body inflates to more than {_RATIO} times its size. Send it without gzip."
                        )
                    return data
        except zlib.error as error:
            raise ValidationError(f"The gzip body is damaged: {error}.") from None
        return b""

    def end(self) -> None:
        """The body is complete. Raises `ValidationError` if its last member is not."""
        if self._begun and not self._member.eof:
            raise ValidationError("The gzip body ends too early. Send it again.")
