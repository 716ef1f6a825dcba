"""What is read from the parameters of rendered resources and of WADO-URI."""

from __future__ import annotations

import pytest

from lightwell.domain.rendering import LARGEST_SIDE, Region, Window, rendered_parameters, uri_parameters
from lightwell.errors import ValidationError


def test_knows_every_parameter_of_the_standard() -> None:
    asked = rendered_parameters(
        [
            ("window", "40,400,linear"),
            ("viewport", "512,256,1.5,2,100,-50"),
            ("quality", "70"),
            ("accept", "image/png"),
            ("imageSetId", "x"),
        ]
    )
    assert asked.window == Window(40.0, 400.0, "LINEAR")
    assert (asked.width, asked.height, asked.quality) == (512, 256, 70)
    assert asked.region == Region(1.5, 2.0, 100.0, -50.0)
    assert asked.notes == ()


def test_takes_nothing_for_an_answer() -> None:
    asked = rendered_parameters([])
    assert (asked.window, asked.width, asked.height, asked.region, asked.quality) == (None,) * 5


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("10,20", None),
        ("10,20,,,,", None),
        ("10,20,5", Region(5.0, 0.0, None, None)),
        ("10,20,,,30,40", Region(0.0, 0.0, 30.0, 40.0)),
        ("10,20,1,2,-3,4", Region(1.0, 2.0, -3.0, 4.0)),
    ],
)
def test_takes_the_missing_numbers_of_a_region_as_the_whole(text: str, region: Region | None) -> None:
    assert rendered_parameters([("viewport", text)]).region == region


@pytest.mark.parametrize("function", ["linear", "linear-exact", "sigmoid", "LINEAR_EXACT", "Sigmoid"])
def test_knows_the_three_functions(function: str) -> None:
    window = rendered_parameters([("window", f"0,2,{function}")]).window
    assert window is not None and window.function == function.upper().replace("-", "_")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window", ""),
        ("window", "40,400"),
        ("window", "40,400,cubic"),
        ("window", "40,0.5,linear"),
        ("window", "40,0,linear-exact"),
        ("window", "40,-1,sigmoid"),
        ("window", "nan,400,linear"),
        ("window", "1e999,400,linear"),
        ("window", "\x1e-0,400,linear"),
        ("window", "0x10,400,linear"),
        ("window", "1_0,400,linear"),
        ("viewport", ""),
        ("viewport", "512"),
        ("viewport", "0,10"),
        ("viewport", "-5,10"),
        ("viewport", "1.5,10"),
        ("viewport", f"{LARGEST_SIDE + 1},10"),
        ("viewport", "10,10,-1,0,5,5"),
        ("viewport", "10,10,0,0,0,5"),
        ("viewport", "10,10,0,0,5,5,5"),
        ("viewport", "10,10,inf,0,5,5"),
        ("quality", "0"),
        ("quality", "101"),
        ("quality", "90.5"),
        ("quality", "\u0669\u0669"),
        ("iccprofile", "cmyk"),
    ],
)
def test_refuses_values_that_are_none(name: str, value: str) -> None:
    with pytest.raises(ValidationError):
        rendered_parameters([(name, value)])


def test_refuses_a_parameter_that_comes_twice() -> None:
    with pytest.raises(ValidationError, match="once"):
        rendered_parameters([("quality", "10"), ("quality", "20")])


def test_refuses_a_region_of_a_thumbnail() -> None:
    assert rendered_parameters([("viewport", "64,64")], thumbnail=True).width == 64
    with pytest.raises(ValidationError, match="thumbnail"):
        rendered_parameters([("viewport", "64,64,0,0,5,5")], thumbnail=True)


def test_says_what_it_does_not_do() -> None:
    notes = rendered_parameters([("annotation", "patient,\x00<evil>"), ("iccprofile", "srgb")]).notes
    assert notes == (
        "The following annotation values are not supported: patient, other values",
        "The following iccprofile value is not supported: srgb",
    )
    assert rendered_parameters([("iccprofile", "no"), ("annotation", "")]).notes == ()


def test_reads_the_parameters_of_the_uri_service() -> None:
    asked = uri_parameters(
        {
            "rows": "100",
            "columns": "200",
            "region": "0.25,0,0.75,1",
            "windowcenter": "40",
            "windowwidth": "400",
            "imagequality": "50",
            "annotation": "technique",
        }
    )
    assert (asked.width, asked.height, asked.quality) == (200, 100, 50)
    assert asked.region == Region(0.25, 0.0, 0.5, 1.0, relative=True)
    assert asked.window == Window(40.0, 400.0, "LINEAR")
    assert len(asked.notes) == 1


@pytest.mark.parametrize(
    "query",
    [
        {"windowcenter": "40"},
        {"windowwidth": "40"},
        {"region": "0,0,1"},
        {"region": "0.5,0,0.5,1"},
        {"region": "0,0,1.5,1"},
        {"rows": "0"},
        {"imagequality": "x"},
        {"presentationuid": "1.2"},
    ],
)
def test_refuses_uri_parameters_that_it_cannot_honour(query: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        uri_parameters(query)
