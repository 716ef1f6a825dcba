"""What the console is told of an OpenID provider, and that nobody waits long for one that is away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from lightwell.auth.openid import provider
from lightwell.auth.openid.errors import InvalidIdentityTokenError, ProviderUnreachableError
from lightwell.auth.openid.provider import OpenIdProvider, Published
from lightwell.settings import Settings
from lightwell.web.authorizers import federation as module
from lightwell.web.authorizers.federation import Federation
from tests.unit.auth.openid.fake_provider import FakeProvider, fake_provider, key

NOW = 1_800_000_000_000


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with fake_provider() as found:
        found.publish(key("one"), token_endpoint="https://login.example.org/token")
        yield found


@pytest.fixture
def federation(fake: FakeProvider) -> Iterator[Federation]:
    made = Federation(Settings(oidc_issuer=fake.issuer, oidc_client_id="console", oidc_audiences="a, b"))
    yield made
    made.close()


def test_tells_the_console_where_to_go(fake: FakeProvider, federation: Federation) -> None:
    async def ask() -> None:
        assert await federation.origins() == (fake.issuer, "https://login.example.org")
        found = await federation.console()
        assert found is not None
        assert (found.issuer, found.client_id, found.message) == (fake.issuer, "console", None)
        assert found.authorization_endpoint == f"{fake.issuer}/auth"
        for client in ("console", "a", "b"):
            assert (await federation.verify(fake.token(key("one"), NOW, aud=client), NOW)).subject == "ana"
        with pytest.raises(InvalidIdentityTokenError):
            await federation.verify(fake.token(key("one"), NOW, aud="c"), NOW)

    asyncio.run(ask())


def test_does_not_wait_for_a_provider_that_does_not_answer(
    fake: FakeProvider, federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, asked, ask_it = threading.Event(), [], OpenIdProvider.published

    def published(self: OpenIdProvider) -> Published:
        asked.append(self)
        assert answers.wait(60)
        return ask_it(self)

    monkeypatch.setattr(OpenIdProvider, "published", published)
    monkeypatch.setattr(module, "_MOMENT_SECONDS", 0.01)

    async def ask() -> None:
        for found in await asyncio.gather(*(federation.console() for _ in range(20))):
            assert found is not None
            assert found.authorization_endpoint is None
            assert "does not answer" in (found.message or "")
        assert await federation.origins() == (fake.issuer,)
        assert len(asked) == 1
        answers.set()
        monkeypatch.setattr(module, "_MOMENT_SECONDS", 60)
        found = await federation.console()
        assert found is not None and found.message is None

    asyncio.run(ask())


def test_lets_only_so_many_tokens_wait(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING", 0)
    with pytest.raises(ProviderUnreachableError, match="Too many"):
        asyncio.run(federation.verify("a.b.c", NOW))


def test_says_what_is_wrong_with_a_provider(fake: FakeProvider, federation: Federation) -> None:
    fake.publish(key("one"), authorization_endpoint=None)
    found = asyncio.run(federation.console())
    assert found is not None and "no way to sign in" in (found.message or "")


def test_without_settings_there_is_none() -> None:
    made = Federation(Settings())
    assert asyncio.run(made.console()) is None
    assert asyncio.run(made.origins()) == ()
    with pytest.raises(InvalidIdentityTokenError):
        asyncio.run(made.verify("a.b.c", NOW))


def test_waits_once_only_for_a_provider_that_is_away(
    fake: FakeProvider, federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = dict(fake.answers)
    fake.answers.clear()
    answers, ask_it = threading.Event(), OpenIdProvider.published

    def published(self: OpenIdProvider) -> Published:
        assert answers.wait(60)
        return ask_it(self)

    async def ask() -> None:
        assert await federation.origins() == (fake.issuer,)
        fake.answers.update(good)
        monkeypatch.setattr(provider, "RETRY_SECONDS", 0.0)
        monkeypatch.setattr(OpenIdProvider, "published", published)
        monkeypatch.setattr(module, "_MOMENT_SECONDS", 60.0)
        # A wait would last until the provider answers, which it does afterwards only.
        assert await asyncio.wait_for(federation.origins(), 30) == (fake.issuer,)
        answers.set()
        assert (await federation.console()) is not None
        assert len(await federation.origins()) == 2

    asyncio.run(ask())
