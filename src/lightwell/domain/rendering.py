"""The parameters of rendered resources, read and checked.

Source: PS3.18 §8.3.5 (RESTful resources), §9.5 (the URI service, WADO-URI).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from lightwell.errors import ValidationError

JPEG, PNG, GIF, PDF = "image/jpeg", "image/png", "image/gif", "application/pdf"
IMAGE_TYPES = (JPEG, PNG, GIF)
"""Media types of images; the first is the default (PS3.18 Table 8.7.4-1)."""

HTML, TEXT, XML = "text/html", "text/plain", "text/xml"
REPORT_TYPES = (HTML, TEXT, XML)
"""Media types of structured reports; the first is the default."""

MOST_ANIMATED_FRAMES = 2000
"""Frames of an animation."""

LARGEST_SIDE = 4096
"""Greatest width and height of a viewport, in pixels."""

THUMBNAIL_SIDE = 128
"""Width and height into which a thumbnail fits unless the request has a viewport, in pixels."""

FUNCTIONS = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}
"""Function of a window in a URL → VOILUTFunction (PS3.3 C.11.2.1.3)."""

_ANNOTATIONS = ("patient", "technique")
_PROFILES = ("no", "yes", "srgb", "adobergb", "rommrgb", "displayp3")
_WHOLE = re.compile(r"[0-9]{1,9}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,15}\.?[0-9]{0,15}|\.[0-9]{1,15})(?:[eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Window:
    """Which values are shown as greys, in units after the modality transformation (Hounsfield units, …).

    ``function`` is a VOILUTFunction.
    """

    center: float
    width: float
    function: str


@dataclass(frozen=True, slots=True)
class Region:
    """The part of an image to show, from its upper left corner.

    In pixels, or where ``relative`` in fractions of the image's width and height. A negative ``width``
    mirrors left and right, a negative ``height`` up and down.
    """

    left: float
    top: float
    width: float | None
    height: float | None
    relative: bool = False


@dataclass(frozen=True, slots=True)
class Rendering:
    """One image to render.

    ``width`` and ``height`` are those of the viewport into which it is scaled, keeping its aspect ratio; None
    where that side is unlimited. ``quality`` is for image/jpeg, 1 to 100.
    """

    media_type: str
    window: Window | None = None
    width: int | None = None
    height: int | None = None
    region: Region | None = None
    quality: int = 90


@dataclass(frozen=True, slots=True)
class RenderingRequest:
    """The query parameters; ``notes`` are for ``Warning: 299``: valid parameters that are not supported."""

    window: Window | None
    width: int | None
    height: int | None
    region: Region | None
    quality: int | None
    notes: tuple[str, ...]


def rendered_parameters(pairs: Iterable[tuple[str, str]], *, thumbnail: bool = False) -> RenderingRequest:
    """Read the parameters of PS3.18 §8.3.5; other parameters are ignored (§8.3.2).

    A thumbnail takes ``viewport`` without a region only (§10.4.1.1.4). Raises `ValidationError` for an
    invalid value, and for a parameter that is given twice.
    """
    found: dict[str, str] = {}
    for key, value in pairs:
        if key in ("annotation", "quality", "viewport", "window", "iccprofile"):
            if key in found:
                raise ValidationError(f"The parameter {key} may be given only once.")
            found[key] = value
    width, height, region = _viewport(found["viewport"]) if "viewport" in found else (None, None, None)
    if thumbnail and region is not None:
        raise ValidationError("The viewport of a thumbnail is its width and height only, without a region.")
    return RenderingRequest(
        _window(found["window"]) if "window" in found else None,
        width,
        height,
        region,
        _quality("quality", found["quality"]) if "quality" in found else None,
        (*_annotation(found.get("annotation")), *_profile(found.get("iccprofile"))),
    )


def uri_parameters(query: dict[str, str]) -> RenderingRequest:
    """Read the parameters of the URI service (PS3.18 §9.5.2).

    ``query`` has its keys in lower case. Raises `ValidationError`.
    """
    center, width = query.get("windowcenter"), query.get("windowwidth")
    if (center is None) != (width is None):
        raise ValidationError("windowCenter and windowWidth must be given together or not at all.")
    if "presentationuid" in query or "presentationseriesuid" in query:
        raise ValidationError("Rendering with a presentation state (presentationUID) is not supported.")
    window = None
    if center is not None and width is not None:
        window = _checked_window(_number("windowCenter", center), _number("windowWidth", width), "LINEAR")
    return RenderingRequest(
        window,
        _side("columns", query["columns"]) if "columns" in query else None,
        _side("rows", query["rows"]) if "rows" in query else None,
        _uri_region(query["region"]) if "region" in query else None,
        _quality("imageQuality", query["imagequality"]) if "imagequality" in query else None,
        _annotation(query.get("annotation")),
    )


def _window(text: str) -> Window:
    parts = text.split(",")
    if len(parts) != 3:
        raise ValidationError(
            "window must be center,width,function, where function is linear, linear-exact or sigmoid."
        )
    function = FUNCTIONS.get(parts[2].strip().lower().replace("_", "-"))
    if function is None:
        raise ValidationError("The function of a window must be linear, linear-exact or sigmoid.")
    return _checked_window(_number("window", parts[0]), _number("window", parts[1]), function)


def _checked_window(center: float, width: float, function: str) -> Window:
    if width < 1 if function == "LINEAR" else width <= 0:
        least = "at least 1" if function == "LINEAR" else "above 0"
        raise ValidationError(f"The width of this window must be {least}, not {width:g}.")
    return Window(center, width, function)


def _viewport(text: str) -> tuple[int, int, Region | None]:
    parts = [part.strip() for part in text.split(",")]
    if not 2 <= len(parts) <= 6:
        raise ValidationError("viewport must be width,height or width,height,sx,sy,sw,sh.")
    width, height = _side("viewport", parts[0]), _side("viewport", parts[1])
    rest = [_number("viewport", part) if part else None for part in parts[2:]]
    if all(value is None for value in rest):
        return width, height, None
    rest += [None] * (4 - len(rest))
    left, top = rest[0] or 0.0, rest[1] or 0.0
    if left < 0 or top < 0 or 0 in (rest[2], rest[3]):
        raise ValidationError(
            "In a viewport, sx and sy must be at least 0, and sw and sh must not be 0; negative ones mirror."
        )
    return width, height, Region(left, top, rest[2], rest[3])


def _uri_region(text: str) -> Region:
    parts = text.split(",")
    if len(parts) != 4:
        raise ValidationError("region must be left,top,right,bottom, each from 0.0 to 1.0.")
    left, top, right, bottom = (_number("region", part) for part in parts)
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValidationError("region must be left,top,right,bottom, each from 0.0 to 1.0, in that order.")
    return Region(left, top, right - left, bottom - top, relative=True)


def _quality(name: str, text: str) -> int:
    if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= 100:
        raise ValidationError(f"{name} must be a whole number from 1 to 100.")
    return int(text)


def _side(name: str, text: str) -> int:
    if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= LARGEST_SIDE:
        raise ValidationError(f"Width and height in {name} must be whole numbers from 1 to {LARGEST_SIDE}.")
    return int(text)


def _number(name: str, text: str) -> float:
    value = float(text) if _DECIMAL.fullmatch(text.strip(" ")) else math.nan
    if not math.isfinite(value) or abs(value) > 1e30:
        raise ValidationError(f"{text!r} in {name} is not a number.")
    return value


def _annotation(text: str | None) -> tuple[str, ...]:
    """Nothing is burned in: by PS3.18 §8.3.5.1.1 unsupported values are ignored, with a warning."""
    words = [word.strip() for word in (text or "").split(",") if word.strip()]
    if not words:
        return ()
    known = [word for word in words if word in _ANNOTATIONS]
    unknown = [word for word in words if word not in _ANNOTATIONS]
    shown = ", ".join([*known, *(["other values"] if unknown else [])])
    return (f"The following annotation values are not supported: {shown}",)


def _profile(text: str | None) -> tuple[str, ...]:
    if text is None or text == "no":
        return ()
    if text not in _PROFILES:
        raise ValidationError("iccprofile must be no, yes, srgb, adobergb, rommrgb or displayp3.")
    return (f"The following iccprofile value is not supported: {text}",)
