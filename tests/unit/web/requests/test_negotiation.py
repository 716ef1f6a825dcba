"""Which media types a client takes."""

from __future__ import annotations

import pytest

from lightwell.web.requests.negotiation import accept_header, quality


def test_joins_several_accept_headers() -> None:
    headers = [(b"accept", b"a/b"), (b"host", b"x"), (b"accept", b"c/d;q=0.5")]
    assert accept_header(headers) == "a/b, c/d;q=0.5"
    assert accept_header([(b"host", b"x")]) is None


@pytest.mark.parametrize(
    ("accept", "weight"),
    [
        ("image/jph", 1),
        ("image/*;q=0.5", 0.5),
        ("*/*", 1),
        ("*", 1),
        ("image/jph;q=0.3, image/*, */*", 0.3),
        ("*/*;q=0.1, image/*;q=0.2", 0.2),
        (" IMAGE/JPH ; version=1 ; Q=0.7", 0.7),
        ("image/jph;q=0", 0),
        ("image/jph;q=high", 0),
        ("image/jph;q=7", 0),
        ("image/jphc", None),
        ("image", None),
        ("", None),
        (",;,", None),
        ('multipart/related; type="image/jph"', None),
    ],
)
def test_weighs_a_type_by_the_most_specific_range(accept: str, weight: float | None) -> None:
    assert quality(accept, "image/jph") == weight
