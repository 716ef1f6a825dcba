"""What is fetched of a provider: within bounds, kept, renewed, and used on while the provider is away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lightwell.auth.openid import provider as module
from lightwell.auth.openid.errors import ProviderUnreachableError
from lightwell.auth.openid.provider import WELL_KNOWN, OpenIdProvider, Published, origin
from lightwell.errors import LightwellError
from tests.support.server import until
from tests.unit.auth.openid.fake_provider import FakeProvider, fake_provider, key


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with fake_provider() as found:
        found.publish(key("one"))
        yield found


def test_is_asked_once_for_all(fake: FakeProvider) -> None:
    found = OpenIdProvider(fake.issuer)
    assert found.known() is None
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: found.published(), range(16)))
    assert len(set(map(id, seen))) == 1
    assert fake.asked == [WELL_KNOWN, "/jwks"]
    assert found.known() is seen[0]
    assert seen[0].metadata.token_endpoint == f"{fake.issuer}/token"


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://id.example.org"},
        {"issuer": "http://127.0.0.1/"},
        {"jwks_uri": "http://id.example.org/jwks"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://user@id.example.org/"},
        {"jwks_uri": 7},
        {"token_endpoint": "javascript:alert(1)"},
        {"token_endpoint": "https://*"},
        {"token_endpoint": "https://a; script-src-elem */token"},
    ],
)
def test_does_not_believe_a_document(fake: FakeProvider, changes: dict[str, Any]) -> None:
    fake.publish(key("one"), **changes)
    with pytest.raises(ProviderUnreachableError):
        OpenIdProvider(fake.issuer).published()
    assert "/jwks" not in fake.asked


def test_sends_nobody_to_an_odd_address_at_the_end(fake: FakeProvider) -> None:
    fake.publish(key("one"), end_session_endpoint="javascript:alert(1)")
    assert OpenIdProvider(fake.issuer).published().metadata.end_session_endpoint is None


@pytest.mark.parametrize(
    "answer",
    [
        (500, b"", {}),
        (302, b"", {"location": "/elsewhere"}),
        (200, b" " * (1 << 20), {}),
        (200, b"[" * 100_000, {}),
        (200, b"no JSON", {}),
        (200, b'{"keys": {}}', {}),
        (200, b'{"keys": []}', {}),
        (200, b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}, {"kty": "RSA"}, {"kty": "new"}]}', {}),
    ],
)
@pytest.mark.parametrize("path", [WELL_KNOWN, "/jwks"])
def test_survives_any_answer(
    fake: FakeProvider, path: str, answer: tuple[int, bytes, dict[str, str]]
) -> None:
    fake.answers["/elsewhere"] = fake.answers[path]
    fake.answers[path] = answer
    with pytest.raises(ProviderUnreachableError) as caught:
        OpenIdProvider(fake.issuer).published()
    assert caught.value.code == "IDPCommunicationError"
    assert "/elsewhere" not in fake.asked


def test_leaves_out_keys_that_are_not_for_signatures(fake: FakeProvider) -> None:
    for_others = {**key("two").as_dict(private=False), "use": "enc"}
    odd = {"kty": "RSA", "n": "!", "e": "AQAB"}
    fake.publish(key("one"), more=[for_others, odd, {"kty": "oct", "k": "c2VjcmV0"}])
    assert [each.id for each in OpenIdProvider(fake.issuer).published().keys] == ["one"]


def test_is_used_on_while_it_is_away(fake: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    found = OpenIdProvider(fake.issuer)
    first = found.published()
    monkeypatch.setattr(module, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    assert found.published() is not first
    kept = found.published()
    good = dict(fake.answers)
    fake.answers.clear()
    assert found.published() is kept
    monkeypatch.setattr(module, "STALE_SECONDS", 0.0)
    with pytest.raises(ProviderUnreachableError):
        found.published()
    fake.answers.update(good)
    assert found.published() is not kept


def test_does_not_ask_again_at_once(fake: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 600.0)
    good = dict(fake.answers)
    fake.answers.clear()
    found = OpenIdProvider(fake.issuer)
    for _ in range(5):
        with pytest.raises(ProviderUnreachableError):
            found.published()
    assert fake.asked == [WELL_KNOWN]
    fake.answers.update(good)


def test_gives_up_an_answer_that_never_ends(fake: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    ends, ask, asked = threading.Event(), OpenIdProvider._ask, []

    def hanging(self: OpenIdProvider) -> Published:
        asked.append(self)
        if not ends.is_set():
            assert ends.wait(60)
            raise OSError("ended")
        return ask(self)

    monkeypatch.setattr(OpenIdProvider, "_ask", hanging)
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    found = OpenIdProvider(fake.issuer)
    for _ in range(3):
        with pytest.raises(ProviderUnreachableError):
            found.published()
    until(lambda: len(asked) > 0)
    assert len(asked) == 1 and not found.has_failed()
    monkeypatch.setattr(module, "_FETCH_SECONDS", 0.0)
    for _ in range(6):
        with pytest.raises(ProviderUnreachableError):
            found.published()
    until(lambda: len(asked) > 3)
    assert len(asked) == 4 and found.has_failed()
    ends.set()
    for thread in found._fetching:
        thread.join(60)
    monkeypatch.undo()
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    assert found.published().keys and not found.has_failed()


def test_bounds_the_time_of_an_answer(fake: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BODY_SECONDS", 0.0)
    with pytest.raises(LightwellError, match="takes longer"):
        OpenIdProvider(fake.issuer).asked()


def test_needs_certificates_that_can_be_read(tmp_path: Path) -> None:
    for ca in (tmp_path / "none.pem", tmp_path):
        with pytest.raises(ProviderUnreachableError):
            OpenIdProvider("https://127.0.0.1:1", ca).published()


def test_takes_the_origin_of_a_url() -> None:
    assert origin("https://id.example.org:8443/realms/x?y") == "https://id.example.org:8443"
    assert origin("http://u:p@host/") == "http://host"
