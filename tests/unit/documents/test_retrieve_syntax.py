"""Which transfer syntax a request gets, and under which media type."""

from __future__ import annotations

import pytest

from lightwell.documents.retrieve_syntax import fits, media_type, syntax_for

ROOT = "1.2.840.10008.1.2"
EXPLICIT, HTJ2K, J2K, JPEG = f"{ROOT}.1", f"{ROOT}.4.202", f"{ROOT}.4.90", f"{ROOT}.4.50"
LOSSY_J2K, LOSSY_HTJ2K, JXL, H264 = f"{ROOT}.4.91", f"{ROOT}.4.203", f"{ROOT}.4.112", f"{ROOT}.4.102"

MADE = [f"{ROOT}.{end}" for end in ("4.57", "4.70", "4.80", "4.81", "4.90", "4.201", "4.202", "4.203", "5")]


@pytest.mark.parametrize(
    ("stored", "wanted", "sent"),
    [
        (HTJ2K, None, EXPLICIT),
        (HTJ2K, "*", HTJ2K),
        (HTJ2K, HTJ2K, HTJ2K),
        (HTJ2K, EXPLICIT, EXPLICIT),
        (HTJ2K, J2K, J2K),
        (HTJ2K, JPEG, None),
        (HTJ2K, LOSSY_J2K, None),
        *((HTJ2K, made, made) for made in MADE),
        *((J2K, made, made) for made in MADE),
        *((JPEG, made, made) for made in MADE),
        (HTJ2K, ROOT, None),
        (HTJ2K, f"{ROOT}.2", None),
        (J2K, None, EXPLICIT),
        (J2K, "*", J2K),
        (EXPLICIT, None, EXPLICIT),
        (EXPLICIT, "*", EXPLICIT),
        *(
            (lossy, wanted, lossy)
            for lossy in (JPEG, LOSSY_J2K, LOSSY_HTJ2K, JXL, H264)
            for wanted in (None, "*")
        ),
        (JPEG, JPEG, JPEG),
        (JPEG, LOSSY_J2K, None),
        (JPEG, EXPLICIT, EXPLICIT),
        (LOSSY_J2K, EXPLICIT, EXPLICIT),
        (JXL, EXPLICIT, None),
        (H264, EXPLICIT, None),
    ],
)
def test_sends_what_can_be_had(stored: str, wanted: str | None, sent: str | None) -> None:
    assert syntax_for(stored, wanted) == sent


@pytest.mark.parametrize(
    ("syntax", "kind", "others"),
    [
        (EXPLICIT, "application/octet-stream", []),
        (HTJ2K, "image/jphc", ["image/jph", "image/jhc"]),
        (LOSSY_HTJ2K, "image/jphc", []),
        (J2K, "image/jp2", ["image/j2c"]),
        (LOSSY_J2K, "image/jp2", []),
        (JPEG, "image/jpeg", []),
        (f"{ROOT}.4.70", "image/jpeg", []),
        (f"{ROOT}.4.80", "image/jls", ["image/x-jls"]),
        (f"{ROOT}.4.81", "image/jls", ["image/x-jls"]),
        (f"{ROOT}.5", "image/dicom-rle", ["image/x-dicom-rle"]),
        (JXL, "image/jxl", []),
        (H264, "video/mp4", []),
        (f"{ROOT}.4.100", "video/mpeg", ["video/mpeg2"]),
        (f"{ROOT}.4.107", "video/H265", []),
        ("1.2.3", "application/octet-stream", []),
    ],
)
def test_names_the_media_type(syntax: str, kind: str, others: list[str]) -> None:
    assert media_type(syntax) == kind
    takes = [kind.lower(), "*/*", "application/octet-stream", kind.partition("/")[0] + "/*", *others]
    assert all(fits(syntax, each) for each in takes)
    assert not fits(syntax, "image/bmp") and not fits(syntax, "text/*")
