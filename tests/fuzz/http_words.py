"""What requests to a whole server are made of, whatever they are for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from botocore.credentials import Credentials
from hypothesis import strategies as st


@dataclass(frozen=True, slots=True)
class Known:
    """What is in the server, so that requests reach more than what refuses unknown ids."""

    datastore: str
    image_sets: Sequence[str]
    frame: str
    uids: Sequence[tuple[str, str, str]]
    part10: bytes
    authorized: str
    """A data store whose authorizer takes any token that names a role."""
    tokens: Sequence[str]
    """Bearer tokens that are good for either data store."""
    labels: Mapping[str, Sequence[str]]
    """What is known for the labels of the console's paths."""
    session: Credentials


@dataclass(frozen=True, slots=True)
class Sent:
    """A request. ``is_framed``: its framing is in order, so that another may follow on the connection.

    ``service``: what it is signed for; ``session``: by temporary credentials instead of root's key.
    """

    method: str
    target: str
    headers: Mapping[str, bytes] = field(default_factory=dict)
    body: bytes = b""
    is_signed: bool = True
    is_framed: bool = True
    service: str = "medical-imaging"
    session: Credentials | None = None


ODD = st.sampled_from(
    [
        *(
            "",
            "0",
            "-1",
            "1",
            "1.2.3",
            "a" * 32,
            "a" * 300,
            "..",
            ".",
            "%",
            "*",
            "\u0000",
            "\r\nX: y",
            "é山",
            "'\"<>",
        ),
        *(
            "9" * 30,
            "0" * 5000,
            "1e9",
            "NaN",
            "true",
            "null",
            "all",
            "1,2,3",
            "/",
            "//",
            "1-2",
            "\ud800".encode("utf-8", "replace").decode(),
        ),
    ]
)
TEXT = ODD | st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")
