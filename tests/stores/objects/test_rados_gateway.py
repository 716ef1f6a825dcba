"""The tests of `test_s3` once more, against Ceph's RADOS Gateway where its packages are installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stores.objects.test_s3 import (
    bucket,
    buckets,
    objects,
    test_fetches_the_bytes_of_any_key,
    test_keeps_objects_below_its_prefix,
    test_leaves_nothing_of_an_aborted_pack,
    test_lists_a_bucket_by_plain_prefix,
    test_names_the_key_for_which_it_cannot_list,
    test_puts_a_file,
    test_puts_manifests_and_large_files,
    test_refuses_keys_that_it_cannot_tell_apart,
    test_says_that_an_object_is_not_there,
    test_says_that_the_secret_is_wrong,
    test_says_that_there_is_no_such_bucket,
    test_says_when_an_object_is_missing_or_too_short,
    test_spools_what_is_too_big_for_memory,
    test_writes_a_pack_of_several_parts,
)
from tests.support.ceph import rados_gateway
from tests.support.services import S3, Unavailable

__all__ = [
    "bucket",
    "buckets",
    "objects",
    "test_fetches_the_bytes_of_any_key",
    "test_keeps_objects_below_its_prefix",
    "test_leaves_nothing_of_an_aborted_pack",
    "test_lists_a_bucket_by_plain_prefix",
    "test_names_the_key_for_which_it_cannot_list",
    "test_puts_a_file",
    "test_puts_manifests_and_large_files",
    "test_refuses_keys_that_it_cannot_tell_apart",
    "test_says_that_an_object_is_not_there",
    "test_says_that_the_secret_is_wrong",
    "test_says_that_there_is_no_such_bucket",
    "test_says_when_an_object_is_missing_or_too_short",
    "test_spools_what_is_too_big_for_memory",
    "test_writes_a_pack_of_several_parts",
]

pytestmark = pytest.mark.endurance


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """In place of SeaweedFS. Its packages are 85 MB, so it is skipped without them, in CI, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CEPH_CONF", raising=False)
        gateway = rados_gateway(tmp_path_factory.mktemp("ceph"))
        try:
            s3 = gateway.__enter__()
        except Unavailable as reason:
            pytest.skip(str(reason))
        try:
            yield s3
        finally:
            gateway.__exit__(None, None, None)
