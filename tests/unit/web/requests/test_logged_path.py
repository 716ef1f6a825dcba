"""Paths in the log: where a request went, without whose images it was about."""

from __future__ import annotations

import pytest

from lightwell.web.requests.logged_path import logged_path

UID = "1.2.826.0.1.3680043.8.498.1"
STORE = "/datastore/0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (
            f"{STORE}/studies/{UID}/series/{UID}/instances/{UID}/frames/1,2",
            f"{STORE}/studies/*/series/*/instances/*/frames/1,2",
        ),
        (f"{STORE}/studies", f"{STORE}/studies"),
        (f"{STORE}/studies/", f"{STORE}/studies/"),
        (f"{STORE}/studies/Doe%5EJane", f"{STORE}/studies/*"),
        (f"{STORE}/studies/%31.2.3.4/metadata", f"{STORE}/studies/*/metadata"),
        (f"/elsewhere/{UID}", "/elsewhere/*"),
        ("/elsewhere/x%2E1%2E2%2e3%2E4", "/elsewhere/*"),
        (
            f"{STORE}/imageSet/fedcba9876543210fedcba9876543210",
            f"{STORE}/imageSet/fedcba9876543210fedcba9876543210",
        ),
        ("/readyz", "/readyz"),
        ("/" + "1" * 65_536, "/*"),
        ("/" + "%31" * 20_000 + "/studies", "/*/studies"),
        ("/a" * 149 + "/" + "1" * 65_536, "/a" * 149 + "/*"),
        ("/", "/"),
    ],
)
def test_shows_no_uid(path: str, shown: str) -> None:
    assert logged_path(path.encode(), masks=True) == shown
    assert logged_path(path.encode(), masks=False) == path[:300]


def test_shows_the_beginning_only() -> None:
    assert len(logged_path(b"/a" * 5000, masks=True)) == 300
