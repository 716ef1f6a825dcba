"""The configuration of OHIF, run in Node: which token it takes, from where, and what it does with it."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from lightwell.web.pages import ohif
from tests.support.javascript import needed

STORE = "a" * 32
OF_CONSOLE = "lightwell-viewer+jwt"
_BROWSER = r"""
const vm = require('node:vm'), fs = require('node:fs')
const { script, hash, stored, next } = JSON.parse(fs.readFileSync(0, 'utf8'))
const kept = new Map(Object.entries(stored)), did = [], timers = []
const nothing = () => {}
const element = () => ({
  style: {}, appendChild: (child) => child, addEventListener: nothing, setAttribute: nothing, focus: nothing,
  showModal: () => did.push('asked'),
})
const search = '?StudyInstanceUIDs=1.2'
const location = { hash, origin: 'https://images.example.org', pathname: '/ohif/viewer', search }
const context = {
  location, atob, JSON, Date, console, Object,
  history: { state: null, replaceState: (state, title, url) => did.push(url) },
  sessionStorage: { getItem: (key) => kept.get(key) ?? null, setItem: (key, text) => kept.set(key, text) },
  document: {
    createElement: element, body: element(), documentElement: element(), getElementById: () => null,
    addEventListener() {},
  },
  addEventListener() {}, removeEventListener() {}, stop: () => did.push('stopped'),
  setInterval: (call) => timers.push(call), setTimeout, clearTimeout,
  fetch: async (url, { headers }) => {
    did.push(`${url} ${headers.Authorization}`)
    return { ok: next !== null, json: async () => ({ token: next }) }
  },
}
context.window = context
vm.runInNewContext(script, context)
let header = null
if (context.config) {
  const setServiceImplementation = (given) => { header = given.getAuthorizationHeader() }
  const services = { userAuthenticationService: { setServiceImplementation } }
  context.config.extensions[0].preRegistration({ servicesManager: { services } })
}
Promise.all(timers.map((call) => call())).then(() => {
  console.log(JSON.stringify({ did, header, kept: Object.fromEntries(kept), config: context.config ?? null }))
})
"""


def token(*, store: str = STORE, seconds: int = 600, scope: str = "read", type: str = "JWT") -> str:
    claims = {
        "aud": f"arn:aws:medical-imaging:us-east-1:000000000000:datastore/{store}",
        "exp": int(time.time()) + seconds,
        "scope": scope,
        "sub": "Jürgen_~?>",
    }
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": type}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, b"signature"))


def run(hash: str = "", stored: str | None = None, next: str | None = None) -> dict[str, Any]:
    needed("node")
    script = Path(ohif.__file__).with_name("ohif_config.js").read_text()
    kept = {} if stored is None else {"lightwell-token": stored}
    given = {"script": script, "hash": hash, "stored": kept, "next": next}
    done = subprocess.run(
        ["node", "-e", _BROWSER], input=json.dumps(given), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_takes_the_token_of_a_link_and_hides_it() -> None:
    given = token()
    found = run(f"#token={given}")
    assert found["kept"] == {"lightwell-token": given}
    assert found["did"] == ["/ohif/viewer?StudyInstanceUIDs=1.2"]
    assert found["header"] == {"Authorization": f"Bearer {given}"}
    source = found["config"]["dataSources"][0]["configuration"]
    assert source["wadoRoot"] == source["qidoRoot"] == f"https://images.example.org/datastore/{STORE}"
    assert source["dicomUploadEnabled"] is False
    upload = run(f"#token={token(scope='read store')}")["config"]["dataSources"][0]["configuration"]
    assert upload["dicomUploadEnabled"] is True


def test_keeps_to_the_token_of_its_tab_until_a_link_has_another() -> None:
    mine, other = token(), token(store="b" * 32)
    assert run(stored=mine)["header"] == {"Authorization": f"Bearer {mine}"}
    assert run(f"#token={other}", stored=mine)["header"] == {"Authorization": f"Bearer {other}"}
    assert run("#token=nonsense", stored=mine)["kept"] == {"lightwell-token": mine}


@pytest.mark.parametrize("text", ["", "nonsense", "a.b.c", "other store", "expired"])
def test_loads_no_viewer_without_a_token_that_is_valid(text: str) -> None:
    made = {"other store": token(store="../x"), "expired": token(seconds=-5)}
    found = run(f"#token={made.get(text, text)}")
    assert found["config"] is None and found["did"][-2:] == ["stopped", "asked"]


def test_opens_the_study_that_the_console_names() -> None:
    found = run(f"#token={token(type=OF_CONSOLE)}&study=1.2.840.99")
    assert found["did"][0] == "/ohif/viewer?StudyInstanceUIDs=1.2.840.99"
    for study in ("1.2/../x", "javascript:1", "", "1" * 65):
        assert run(f"#token={token()}&study={study}")["did"] == ["/ohif/viewer?StudyInstanceUIDs=1.2"]


def test_renews_a_token_of_the_console_before_it_expires() -> None:
    old, new = token(seconds=200, type=OF_CONSOLE), token(type=OF_CONSOLE)
    found = run(f"#token={old}", next=new)
    address = f"https://images.example.org/console/api/datastores/{STORE}/viewer-token/renewal"
    assert found["did"][1:] == [f"{address} Bearer {old}"]
    assert found["kept"] == {"lightwell-token": new}
    # Not yet, not one of `lightwell token`, and not where the session is over.
    assert len(run(f"#token={token(seconds=800, type=OF_CONSOLE)}", next=new)["did"]) == 1
    assert len(run(f"#token={token(seconds=200)}", next=new)["did"]) == 1
    over = run(f"#token={old}", next=None)
    assert over["kept"] == {"lightwell-token": old}
    assert "asked" not in over["did"]
