"""ARNs."""

from __future__ import annotations

import pytest

from lightwell.domain import arn
from lightwell.domain.arn import Resource

STORE, SET = "a" * 32, "b" * 32


def test_names_a_data_store_and_an_image_set() -> None:
    store = arn.datastore_arn("eu-west-1", "123456789012", STORE)
    assert store == f"arn:aws:medical-imaging:eu-west-1:123456789012:datastore/{STORE}"
    image_set = arn.image_set_arn("eu-west-1", "123456789012", STORE, SET)
    assert image_set == f"{store}/imageset/{SET}"
    assert arn.parse(store) == Resource("eu-west-1", "123456789012", STORE, None)
    assert arn.parse(image_set) == Resource("eu-west-1", "123456789012", STORE, SET)


def test_keeps_tags_under_the_path() -> None:
    assert Resource("r", "1" * 12, STORE, None).path == f"datastore/{STORE}"
    assert Resource("r", "1" * 12, STORE, SET).path == f"datastore/{STORE}/imageset/{SET}"


@pytest.mark.parametrize(
    "text",
    [
        "", STORE, f"arn:aws:s3:eu-west-1:123456789012:datastore/{STORE}",
        f"arn:aws:medical-imaging:eu-west-1:1234:datastore/{STORE}",
        f"arn:aws:medical-imaging:eu-west-1:123456789012:datastore/{STORE}\n",
        f"arn:aws:medical-imaging:eu-west-1:123456789012:datastore/{STORE}/imageSet/{SET}",
        f"arn:aws:medical-imaging:eu-west-1:123456789012:datastore/{STORE}/imageset/",
    ],
)  # fmt: skip
def test_takes_no_other_text_for_one(text: str) -> None:
    assert arn.parse(text) is None


def test_says_who_a_caller_is() -> None:
    assert arn.root_arn("1" * 12) == "arn:aws:iam::111111111111:root"
    assert arn.user_arn("1" * 12, "ana") == "arn:aws:iam::111111111111:user/ana"
    assert arn.session_arn("1" * 12, "R/s") == "arn:aws:sts::111111111111:assumed-role/R/s"
