from lightwell.imaging.dataset.transfer_syntaxes import STORED, SYNTAXES, content_type

DICOM = "1.2.840.10008."
TRANSCODED = {
    "1.2",
    "1.2.1",
    "1.2.1.99",
    "1.2.2",
    "1.2.4.51",
    "1.2.4.57",
    "1.2.4.70",
    "1.2.4.80",
    "1.2.4.81",
    "1.2.4.90",
    "1.2.4.92",
    "1.2.4.93",
    "1.2.4.201",
    "1.2.4.202",
    "1.2.5",
}
KEPT = {"1.2.4.50", "1.2.4.91", "1.2.4.203", "1.2.4.112"}
VIDEO = {
    *(f"1.2.4.{number}{tail}" for number in range(100, 107) for tail in ("", ".1")),
    "1.2.4.107",
    "1.2.4.108",
}


def test_transcodes_what_the_developer_guide_transcodes() -> None:
    assert not any(SYNTAXES[DICOM + tail].verbatim for tail in TRANSCODED)


def test_keeps_what_the_developer_guide_keeps() -> None:
    assert all(SYNTAXES[DICOM + tail].verbatim for tail in KEPT | VIDEO)


def test_knows_which_syntaxes_are_video() -> None:
    assert {uid.removeprefix(DICOM) for uid, syntax in SYNTAXES.items() if syntax.video} == VIDEO


def test_has_only_native_syntaxes_outside_items() -> None:
    native = {uid.removeprefix(DICOM) for uid, syntax in SYNTAXES.items() if not syntax.encapsulated}
    assert native == {"1.2", "1.2.1", "1.2.1.99", "1.2.2"}


def test_gives_the_content_types_of_the_service_model() -> None:
    expected = {
        "1.2.1": "application/octet-stream",
        "1.2.4.50": "image/jpeg",
        "1.2.4.90": "image/j2c",
        "1.2.4.91": "image/j2c",
        "1.2.4.100": "video/mpeg",
        "1.2.4.101.1": "video/mpeg",
        "1.2.4.102": "video/mp4",
        "1.2.4.106.1": "video/mp4",
        "1.2.4.107": "video/H256",
        "1.2.4.112": "image/jxl",
        "1.2.4.202": "image/jph",
        "1.2.4.203": "image/jphc",
        "1.2.5": "application/octet-stream",
    }
    assert {tail: content_type(DICOM + tail) for tail in expected} == expected


def test_treats_a_missing_stored_syntax_as_htj2k() -> None:
    assert content_type(None) == "image/jph"


def test_calls_an_unknown_syntax_bytes() -> None:
    assert content_type("1.2.3") == "application/octet-stream"


def test_names_the_syntax_of_both_storage_formats() -> None:
    assert STORED == {"HTJ2K": DICOM + "1.2.4.202", "JPEG_2000_LOSSLESS": DICOM + "1.2.4.90"}
