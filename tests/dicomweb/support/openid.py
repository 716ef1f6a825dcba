"""A real OpenID provider, npm's ``oidc-provider``, and the tokens that it issues."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
import shutil
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.services import Unavailable

_PROVIDER = Path(__file__).parents[2] / "js" / "openid-provider"


class Provider:
    """A running OpenID provider."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer

    def token(self, scope: str, *, audience: str = "urn:lightwell", client: str = "viewer") -> str:
        """An access token that the provider issues to a client for itself."""
        form = {"grant_type": "client_credentials", "scope": scope, "resource": audience}
        pair = f"{urllib.parse.quote(client, safe='')}:{urllib.parse.quote('a secret of the tests')}"
        request = urllib.request.Request(f"{self.issuer}/token", urllib.parse.urlencode(form).encode())
        request.add_header("authorization", "Basic " + base64.b64encode(pair.encode()).decode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            token: str = json.load(answer)["access_token"]
        return token

    def id_token(self, name: str, client: str = "console") -> str:
        """The ID token of a person who signs in, as a browser would: code flow with PKCE."""
        redirect, verifier = "http://127.0.0.1:1/console/callback", secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
        asked = {
            "response_type": "code",
            "client_id": client,
            "redirect_uri": redirect,
            "scope": "openid profile email",
            "code_challenge": challenge.decode(),
            "code_challenge_method": "S256",
        }
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(), _UntilSentBack)
        page, steps = (
            f"{self.issuer}/auth?{urllib.parse.urlencode(asked)}",
            [
                None,
                {"prompt": "login", "login": name, "password": "any"},
                {"prompt": "consent"},
            ],
        )
        try:
            for step in steps:
                data = None if step is None else urllib.parse.urlencode(step).encode()
                with browser.open(page, data, timeout=10) as answer:
                    page = answer.url
        except _SentBackError as back:
            code = urllib.parse.parse_qs(urllib.parse.urlsplit(str(back)).query)["code"][0]
        given = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "client_id": client,
            "code_verifier": verifier,
        }
        form = urllib.parse.urlencode(given).encode()
        with browser.open(f"{self.issuer}/token", form, timeout=10) as answer:
            token: str = json.load(answer)["id_token"]
        return token


class _SentBackError(Exception):
    """The provider sends the browser back to the application, with a code in the address."""


class _UntilSentBack(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> urllib.request.Request | None:
        if "/console/callback?" in arguments[-1]:
            raise _SentBackError(arguments[-1])
        return super().redirect_request(*arguments)


@contextlib.contextmanager
def provider() -> Iterator[Provider]:
    """npm's ``oidc-provider``, at the versions of its lock file."""
    if missing := [name for name in ("node", "npm") if shutil.which(name) is None]:
        raise Unavailable(f"no {' and no '.join(missing)}: run tools/system-packages")
    with tempfile.TemporaryDirectory(prefix="lightwell-openid-") as folder:
        for name in ("package.json", "package-lock.json", ".npmrc", "provider.mjs"):
            shutil.copy(_PROVIDER / name, folder)
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts"], cwd=folder, capture_output=True, text=True, timeout=200
        )
        if done.returncode:
            raise Unavailable(f"npm ci failed: {done.stderr[-500:]}")
        process = subprocess.Popen(
            ["node", "provider.mjs"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            assert process.stdout is not None
            issuer = process.stdout.readline().strip()
            if not issuer:
                raise Unavailable("the OpenID provider did not start")
            yield Provider(issuer)
        finally:
            process.kill()
            if process.stdout is not None:
                process.stdout.close()
            process.wait(10)
