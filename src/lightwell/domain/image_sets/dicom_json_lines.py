"""The DICOM JSON Model of an instance, as it is kept: its *lines*.

Source: PS3.18 Annex F. Lines are the elements of the data set in tag order without the braces, a comma and a
line feed between two of them. No JSON text has a line feed inside, so an element of the data set itself is
found by a search, and an edited one put in its place, without decoding anything. An empty line stands where
AvailableTransferSyntaxUID belongs, which `shown` fills.

A value that is too long for the text is named in it: ``"BulkDataURI":"HASH"``, the hash as in
`imaging.dataset.dicom_json.bulk_name`. `shown` makes that a path, and who serves the text puts the address
of the data store before it (`addressed`).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from functools import lru_cache

#: what stands between two lines
BREAK = b",\n"

_PLACE = b'"00083002":{"vr":"UI"}'
_KEY = _PLACE[:11]
_BULK = b'"BulkDataURI":"'
# In a JSON text, quotes that do not end a string stand behind a backslash.
_BULK_PATH = re.compile(rb'"BulkDataURI":"(/[^"]*)"')


def joined(elements: Iterable[bytes]) -> bytes:
    """The lines of a data set, from the texts of its elements in tag order; empty ones are left out."""
    found = [element for element in elements if element]
    at = bisect_left(found, _KEY)
    own = at < len(found) and found[at].startswith(_KEY)
    found[at : at + own] = [_PLACE]
    return BREAK.join(found)


def shown(lines: bytes, syntax: str, path: str) -> bytes:
    """Lines with the transfer syntax in which the instance is available, and with paths of bulk values.

    ``path`` is of the instance, such as ``/studies/…/instances/…``.
    """
    lines = lines.replace(b"\n" + _PLACE, b'\n"00083002":{"vr":"UI","Value":["%s"]}' % syntax.encode(), 1)
    if _BULK in lines:
        lines = lines.replace(_BULK, b"%s%s/bulkdata/" % (_BULK, path.encode()))
    return lines


def as_object(lines: bytes, syntax: str | None = None) -> bytes:
    """The JSON object of lines, with ``syntax`` as its TransferSyntaxUID (0002,0010)."""
    if syntax is None:
        return b"{%s}" % lines
    return b'{"00020010":{"vr":"UI","Value":["%s"]},\n%s}' % (syntax.encode(), lines)


def has_bulk(text: bytes) -> bool:
    """Whether a text names values that are not in it."""
    return _BULK in text


def addressed(text: bytes, base: str, image_set_id: str | None = None) -> bytes:
    """``text`` with URLs in the place of paths: ``base`` is that of the data store.

    With ``image_set_id`` they name the image set.
    """
    if _BULK not in text:
        return text
    before = _BULK + base.encode()
    behind = b'?imageSetId=%s"' % image_set_id.encode() if image_set_id else b'"'
    return _BULK_PATH.sub(lambda found: before + found[1] + behind, text)


def laid(lines: bytes, changed: Mapping[int, bytes | None]) -> bytes:
    """Lines with others in the place of those of the same tags; None takes one away."""
    if not changed:
        return lines
    found = {line[1:9]: line for line in lines.split(BREAK)}
    is_new = False
    for tag, line in changed.items():
        key = b"%08X" % tag
        if line is None:
            found.pop(key, None)
        else:
            is_new = is_new or key not in found
            found[key] = line
    found[_KEY[1:9]] = _PLACE  # not for anybody to change
    return BREAK.join([found[key] for key in sorted(found)] if is_new else found.values())


def line_of(lines: bytes, tag: int) -> bytes | None:
    """The line of one element, None where the data set has none."""
    needle = b'"%08X":' % tag
    start = 0 if lines.startswith(needle) else lines.find(b"\n" + needle) + 1
    if not start and not lines.startswith(needle):
        return None
    end = lines.find(BREAK, start)
    return lines[start:] if end < 0 else lines[start:end]


@lru_cache(1024)
def instance_path(study: str, series: str, instance: str) -> str:
    """The path of an instance below its data store."""
    return f"/studies/{_quoted(study)}/series/{_quoted(series)}/instances/{_quoted(instance)}"


def _quoted(uid: str) -> str:
    from urllib.parse import quote

    return quote(uid, safe="")
