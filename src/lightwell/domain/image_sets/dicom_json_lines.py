"""The DICOM JSON Model of an instance as it is stored: its *lines*.

Source: PS3.18 Annex F. Lines are the elements of the data set in tag order without the braces, separated by a
comma and a line feed. A JSON value never contains a line feed, so an element of the data set can be found by
a text search and replaced without decoding anything. A placeholder marks the place of
AvailableTransferSyntaxUID, which `complete_lines` fills in.

A value that is too long for the text is only named in it: ``"BulkDataURI":"HASH"``, the hash as in
`imaging.dataset.dicom_json.bulk_name`. `complete_lines` turns that into a path, and the URL of the data store
is put before the path when the text is served (`insert_base_url`).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from functools import lru_cache

#: separates two lines
LINE_BREAK = b",\n"

_SYNTAX_PLACEHOLDER = b'"00083002":{"vr":"UI"}'
_SYNTAX_KEY = _SYNTAX_PLACEHOLDER[:11]
_BULK_URI = b'"BulkDataURI":"'
# In a JSON string, a quote that does not end the string is preceded by a backslash.
_BULK_PATH = re.compile(rb'"BulkDataURI":"(/[^"]*)"')


def join_elements(elements: Iterable[bytes]) -> bytes:
    """The lines of a data set, from the JSON of its elements in tag order; empty ones are left out."""
    found = [element for element in elements if element]
    at = bisect_left(found, _SYNTAX_KEY)
    own = at < len(found) and found[at].startswith(_SYNTAX_KEY)
    found[at : at + own] = [_SYNTAX_PLACEHOLDER]
    return LINE_BREAK.join(found)


def complete_lines(lines: bytes, syntax: str, path: str) -> bytes:
    """Fill in the transfer syntax in which the instance is available, and the paths of bulk values.

    ``path`` is of the instance, such as ``/studies/…/instances/…``.
    """
    lines = lines.replace(
        b"\n" + _SYNTAX_PLACEHOLDER, b'\n"00083002":{"vr":"UI","Value":["%s"]}' % syntax.encode(), 1
    )
    if _BULK_URI in lines:
        lines = lines.replace(_BULK_URI, b"%s%s/bulkdata/" % (_BULK_URI, path.encode()))
    return lines


def as_object(lines: bytes, syntax: str | None = None) -> bytes:
    """The JSON object of lines, with ``syntax`` as its TransferSyntaxUID (0002,0010)."""
    if syntax is None:
        return b"{%s}" % lines
    return b'{"00020010":{"vr":"UI","Value":["%s"]},\n%s}' % (syntax.encode(), lines)


def has_bulk_data(text: bytes) -> bool:
    """Whether a text refers to values that it does not contain."""
    return _BULK_URI in text


def insert_base_url(text: bytes, base: str, image_set_id: str | None = None) -> bytes:
    """``text`` with URLs in place of paths; ``base`` is the URL of the data store.

    With ``image_set_id`` the URLs name the image set.
    """
    if _BULK_URI not in text:
        return text
    before = _BULK_URI + base.encode()
    behind = b'?imageSetId=%s"' % image_set_id.encode() if image_set_id else b'"'
    return _BULK_PATH.sub(lambda found: before + found[1] + behind, text)


def replace_lines(lines: bytes, changed: Mapping[int, bytes | None]) -> bytes:
    """Replace or add the lines of some tags; None removes a line."""
    if not changed:
        return lines
    found = {line[1:9]: line for line in lines.split(LINE_BREAK)}
    is_new = False
    for tag, line in changed.items():
        key = b"%08X" % tag
        if line is None:
            found.pop(key, None)
        else:
            is_new = is_new or key not in found
            found[key] = line
    found[_SYNTAX_KEY[1:9]] = _SYNTAX_PLACEHOLDER  # must not be changed
    return LINE_BREAK.join([found[key] for key in sorted(found)] if is_new else found.values())


def find_line(lines: bytes, tag: int) -> bytes | None:
    """The line of one element; None where the data set does not have it."""
    needle = b'"%08X":' % tag
    start = 0 if lines.startswith(needle) else lines.find(b"\n" + needle) + 1
    if not start and not lines.startswith(needle):
        return None
    end = lines.find(LINE_BREAK, start)
    return lines[start:] if end < 0 else lines[start:end]


@lru_cache(1024)
def instance_path(study: str, series: str, instance: str) -> str:
    """The path of an instance below its data store."""
    return f"/studies/{_quoted(study)}/series/{_quoted(series)}/instances/{_quoted(instance)}"


def _quoted(uid: str) -> str:
    from urllib.parse import quote

    return quote(uid, safe="")
