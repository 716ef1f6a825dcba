"""`lightwell token` at a real server: what a data store with the built-in authorizer lets its bearer do."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightwell.cli.main import main
from tests.support.ct_files import ct, write_series
from tests.support.server import Server, running, until

ARN = "arn:aws:lambda:us-east-1:000000000000:function:lightwell-builtin"
Mint = Callable[..., str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("builtin")
    write_series(folder / "in", 2)
    viewer = folder / "dist"
    viewer.mkdir()
    (viewer / "index.html").write_text('<script>window.PUBLIC_URL="/"</script>')
    (viewer / "app-config.js").write_text("")
    with running(folder / "data", "--ohif", str(viewer)) as found:
        for name, authorizer in (("mine", "builtin"), ("others", "builtin"), ("none", "none")):
            words = ["import", str(folder / "in"), "--datastore", name, "--authorizer", authorizer]
            assert main([*words, "--data", str(found.data)]) == 0
        yield found


@pytest.fixture
def ids(server: Server) -> dict[str, str]:
    listed = server.client().list_datastores()["datastoreSummaries"]
    return {each["datastoreName"]: each["datastoreId"] for each in listed}


@pytest.fixture
def mint(server: Server, capsys: pytest.CaptureFixture[str]) -> Mint:
    def run(name: str, *more: str) -> str:
        capsys.readouterr()
        status = main(["token", "--datastore", name, *more, "--data", str(server.data)])
        said = capsys.readouterr()
        assert status == 0, said.err
        return said.out.strip()

    return run


def status(server: Server, store: str, token: str, method: str = "GET", path: str = "/studies") -> int:
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/dicom+json"}
    body = b"" if method == "GET" else b"no DICOM"
    if method == "POST":
        headers["Content-Type"] = "application/dicom"
    return server.call(method, f"/datastore/{store}{path}", headers=headers, body=body).status


def test_opens_one_data_store(server: Server, ids: dict[str, str], mint: Mint) -> None:
    token = mint("mine")
    client = server.client()
    store = client.get_datastore(datastoreId=ids["mine"])["datastoreProperties"]
    assert store["lambdaAuthorizerArn"] == ARN
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/dicom+json"}
    reply = server.call("GET", f"/datastore/{ids['mine']}/studies", headers=headers)
    assert reply.status == 200
    study = json.loads(reply.body)[0]["0020000D"]["Value"][0]
    uid = ct(1).SOPInstanceUID
    series = f"/studies/{study}/series/{ct(1).SeriesInstanceUID}"
    frame = f"{series}/instances/{uid}/frames/1"
    for path in (f"{series}/metadata", frame, f"{frame}?level=0", f"{series}/frames?level=0"):
        reply = server.call(
            "GET", f"/datastore/{ids['mine']}{path}", headers={"Authorization": f"Bearer {token}"}
        )
        assert reply.status == 200, reply
    assert status(server, ids["others"], token) == 403
    assert status(server, ids["none"], token) == 424
    assert status(server, "0" * 32, token) == 404
    # The native API accepts signatures alone.
    native = server.call(
        "POST", f"/datastore/{ids['mine']}/searchImageSets", headers={"Authorization": f"Bearer {token}"}
    )
    assert native.status in (400, 403)
    until(lambda: any("federated-user/" in line for line in server.err))
    assert token.split(".")[2] not in "".join(server.err + server.out)


def test_stores_only_with_a_token_for_it(server: Server, ids: dict[str, str], mint: Mint) -> None:
    assert status(server, ids["mine"], mint("mine"), "POST") == 403
    # Refused for what it is, and not for who sent it.
    assert status(server, ids["mine"], mint("mine", "--store"), "POST") in (400, 409)
    assert status(server, ids["mine"], mint("mine", "--store"), "DELETE", "/studies/1.2") == 403


def test_a_hash_of_a_store_that_is_no_text_is_no_fault(
    server: Server, ids: dict[str, str], mint: Mint
) -> None:
    connection = http.client.HTTPConnection(*server.address, timeout=60)
    headers = {
        "Authorization": f"Bearer {mint('mine', '--store')}".encode(),
        "X-Amz-Content-SHA256": b"STREAMING-\xff",
        "Content-Type": b"application/dicom",
    }
    connection.request("POST", f"/datastore/{ids['mine']}/studies", b"no DICOM", headers)
    assert connection.getresponse().status in (400, 409)
    connection.close()


def test_is_withdrawn_by_setting_the_authorizer_again(
    server: Server,
    ids: dict[str, str],
    mint: Mint,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def set_authorizer(authorizer: str) -> None:
        words = ["datastore", "set-authorizer", "others", authorizer, "--json"]
        assert main([*words, "--data", str(server.data)]) == 0
        shown = json.loads(capsys.readouterr().out)["lambdaAuthorizerArn"]
        assert shown == {"none": None, "builtin": ARN}.get(authorizer, authorizer)

    store, before = ids["others"], mint("others")
    assert status(server, store, before) == 200
    set_authorizer("builtin")
    until(lambda: status(server, store, before) == 403)
    assert status(server, store, mint("others")) == 200
    set_authorizer("none")
    until(lambda: status(server, store, before) == 424)
    set_authorizer(ARN)
    until(lambda: status(server, store, mint("others")) == 200)
    assert main(["datastore", "set-authorizer", "others", "x", "--data", str(server.data)]) == 2
    assert status(server, store, mint("others")) == 200


def test_says_what_to_do_instead_of_minting_what_nobody_accepts(
    server: Server, ids: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = ["--data", str(server.data)]
    for words, expected in (
        (["--datastore", "none"], "lightwell datastore set-authorizer none builtin"),
        (["--datastore", "nothing"], "There is no data store nothing; existing data stores: "),
        (["--datastore", "mine", "--ttl", "13h"], "12 hours"),
        (["--datastore", "mine", "--ttl", "8"], "such as 8h"),
        (["--datastore", "mine", "--ttl", "8h\n"], "such as 8h"),
    ):
        assert main(["token", *words, *data]) != 0
        said = capsys.readouterr()
        assert expected in said.err and not said.out
    write_series(tmp_path / "in", 1)
    words = ["import", str(tmp_path / "in"), "--datastore", "mine", "--authorizer", "none"]
    assert main([*words, *data]) == 2
    assert "set-authorizer mine none" in capsys.readouterr().err
    assert main(["authorizer", "put", ARN, "python:a:b", *data]) == 2
    assert "part of the server" in capsys.readouterr().err


def test_opens_the_viewer_on_the_server_of_the_data_folder(server: Server, mint: Mint) -> None:
    base, _, token = mint("mine", "--link").partition("#token=")
    assert base == f"{server.url}/ohif/" and token.count(".") == 2
    page = server.call("GET", "/ohif/", headers={"Accept-Encoding": "gzip"})
    assert (page.status, page.body) == (200, b'<script>window.PUBLIC_URL="/ohif/"</script>')
    assert page.headers["cache-control"] == "private, no-cache"
    assert b"lightwell.sign-in" in server.call("GET", "/ohif/app-config.js").body
    # Everything outside is what it was.
    assert server.call("GET", "/ohifx").status == server.call("GET", "/elsewhere").status == 403


def test_prints_a_link_whose_token_no_server_logs(mint: Mint) -> None:
    assert mint("mine", "--link", "--public-url", "https://images.example.org/").startswith(
        "https://images.example.org/ohif/#token=ey"
    )
    shown = json.loads(mint("mine", "--json", "--ttl", "30m"))
    assert shown["link"].endswith(shown["token"]) and shown["expiresAt"] > 0
