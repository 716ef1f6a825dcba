"""Version ids as requests name them: decimal text, of any length, turned into a version number only here."""

from __future__ import annotations

from lightwell.domain.image_sets.image_set import ImageSet
from lightwell.errors import NotFoundError

NO_VERSION = 0
"""Versions are numbered from 1."""
_MOST_DIGITS = 9


def version_number(version_id: str) -> int:
    """The number that a version id, decimal digits, names; `NO_VERSION` where no version can have it.

    Operations that HealthImaging lacks have no pattern that keeps other text away from here.
    """
    digits = version_id.lstrip("0")
    is_number = 0 < len(digits) <= _MOST_DIGITS and digits.isascii() and digits.isdigit()
    return int(digits) if is_number else NO_VERSION


def existing_version(version: str | int, image_set: ImageSet) -> int:
    """The number of a version of the set, failed ones included, from its version id or its number.

    Raises `NotFoundError` where the set has no such version.
    """
    number = version_number(version) if isinstance(version, str) else version
    if not 1 <= number <= image_set.latest_version:
        raise NotFoundError(
            f"Image set {image_set.id} has no version {str(version)[:20]}; its latest version is "
            f"{image_set.latest_version}."
        )
    return number


def readable_version(version_id: str | None, image_set: ImageSet) -> int:
    """The number of a version with content, by default the newest one.

    Raises `NotFoundError` where the set has no such version, or the version has no content.
    """
    number = image_set.readable_version
    if version_id is not None:
        number = existing_version(version_id, image_set)
    if not 1 <= number <= image_set.readable_version:
        raise NotFoundError(
            f"Version {number or image_set.latest_version} of image set {image_set.id} has no content, "
            "because the operation that should have created it failed. GetImageSet shows why."
        )
    return number
