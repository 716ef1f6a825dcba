"""What the README and the guides tell a reader to type works as it stands there, in an empty home folder.

A block that needs more than lightwell says so in its first line and is left out. Names in capitals and what
stands for a path of the reader's own are replaced; nothing else is.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import boto3
import pytest

from tests.repository.pasting import Block, Terminal, blocks
from tests.support import services
from tests.support.certificates import certificate
from tests.support.ct_files import ct, write, write_series

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "docs/quickstart.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "howto").glob("*.md")),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "concepts").glob("*.md")),
]
# `lightwell serve` and `lightwell demo` keep the terminal: the reader goes on in another one.
_KEEPS_THE_TERMINAL = re.compile(
    r"^(lightwell (?:serve|demo|worker)\b(?:[^&#\\\n]|\\\n)*)(?:#.*)?$", re.MULTILINE
)
_READY = {"demo": "Press Ctrl-C", "serve": "listening on", "worker": "worker is process"}
# The demo of the page before has to end first: both would use the same folder.
_STARTS_A_SERVER = re.compile(r"^lightwell (?:serve|demo)\b", re.MULTILINE)
# A suite that ran itself would not end, and an environment made anew needs the network; `make demo` does what
# `lightwell demo` does.
_MAKE = re.compile(r"^make (?:test\b.*|(demo\b))", re.MULTILINE)
# Opens the prompt that the next block with `>>>` is for.
_PYTHON = re.compile(r"^python$", re.MULTILINE)


class Reader:
    """Somebody who pastes one block after another, and puts in the names and paths that are their own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environ = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "LIGHTWELL_PORT": "0",
        }
        self._checkout = home / "checkout"
        self._checkout.mkdir()
        (self._checkout / ".venv").symlink_to(sys.prefix)
        (self._checkout / "docs").symlink_to(ROOT / "docs")
        self._terminals: list[Terminal] = []
        self.about = "mine"
        self.own: dict[str, str | Callable[[], str]] = {}

    def paste(self, block: Block) -> None:
        text = block.text
        for theirs, own in self.own.items():
            pattern = rf"(?<!\w){re.escape(theirs)}(?!\w)"
            if re.search(pattern, text):
                value = own if isinstance(own, str) else own()
                text = re.sub(pattern, value.replace("\\", r"\\"), text)
        if block.language == "python":
            self.terminal.python(text)
            return
        text = _PYTHON.sub("", text)
        text = _MAKE.sub(lambda found: "lightwell demo" if found[1] else "", text)
        if _STARTS_A_SERVER.search(text):
            self.close()
        while found := _KEEPS_THE_TERMINAL.search(text):
            server = self.open_terminal()
            server.paste(f"{text[: found.end(1)]} &")
            server.await_text(next(text for verb, text in _READY.items() if f"lightwell {verb}" in found[0]))
            text = text[found.end() :]
            self.open_terminal()
        self.terminal.paste(text)

    def type(self, line: str) -> None:
        self.paste(Block(line=0, language="sh", text=line, needs=None))

    @property
    def terminal(self) -> Terminal:
        return self._terminals[-1] if self._terminals else self.open_terminal()

    def open_terminal(self) -> Terminal:
        folder = self.home / f"terminal-{len(list(self.home.iterdir()))}"
        terminal = Terminal(self._checkout, folder, self.environ)
        self._terminals.append(terminal)
        terminal.paste('. .venv/bin/activate\ncurl() { command curl --fail-with-body "$@"; }')
        return terminal

    def listed(self, command: str, name: str) -> Callable[[], str]:
        """What the last item of ``command --json`` has under ``name``, when it is wanted."""

        def look() -> str:
            value: str = json.loads(self.terminal.paste(f"{command} --json"))[-1][name]
            return value

        return look

    def data_store(self) -> str:
        """The ID of the data store that the page is about."""
        found = json.loads(self.terminal.paste("lightwell datastore list --json"))
        (id,) = [each["datastoreId"] for each in found if each["datastoreName"] == self.about]
        return str(id)

    def address(self) -> str:
        """Where the server listens."""
        said = self.terminal.paste("lightwell env --json 2>/dev/null")
        value: str = json.loads(said)["AWS_ENDPOINT_URL_MEDICAL_IMAGING"]
        return value

    def close(self) -> None:
        while self._terminals:
            self._terminals.pop().close()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A reader who has three DICOM files, and room for as many."""
    reader = Reader(tmp_path)
    write_series(tmp_path / "dicom", 3)
    reader.own |= {
        "/path/to/dicom": str(tmp_path / "dicom"),
        "/path/for/copies": str(tmp_path / "copies"),
        "DATASTORE_ID": reader.data_store,
        "IMAGE_SET_ID": reader.listed("lightwell sets list --datastore mine", "imageSetId"),
        "http://127.0.0.1:8085": reader.address,
        "ACCESS_KEY_ID": reader.listed("lightwell key list", "accessKeyId"),
    }
    try:
        yield reader
    finally:
        reader.close()


def begin(reader: Reader, request: pytest.FixtureRequest) -> None:
    """What the quickstart leaves behind: a server that has a data store with something in it."""
    reader.type("lightwell serve")
    reader.type("lightwell import /path/to/dicom --datastore mine")


def from_nothing(reader: Reader, request: pytest.FixtureRequest) -> None:
    """The page starts a server itself."""


def with_a_certificate(reader: Reader, request: pytest.FixtureRequest) -> None:
    """The certificate of this machine, and addresses that it has."""
    folder = reader.home / "certificates"
    folder.mkdir()
    chain, key = certificate(folder)
    reader.own |= {"/etc/lightwell/chain.pem": str(chain), "/etc/lightwell/key.pem": str(key)}
    reader.own["/etc/lightwell/authority.pem"] = str(chain)
    reader.own |= {"10.0.0.5": "127.0.0.1", "0.0.0.0": "127.0.0.1"}


def with_postgresql(reader: Reader, request: pytest.FixtureRequest) -> None:
    """A server where the reader is a user who may create databases."""
    server = urlsplit(request.getfixturevalue("postgres_server"))
    reader.own["USER:PASSWORD@HOST"] = server.netloc
    reader.environ |= {
        "PATH": f"{services.postgres_binaries()}:{reader.environ['PATH']}",
        "PGHOST": str(server.hostname),
        "PGPORT": str(server.port),
        "PGUSER": unquote(str(server.username)),
        "PGPASSWORD": unquote(str(server.password)),
    }


def with_s3(reader: Reader, request: pytest.FixtureRequest) -> None:
    """An S3 server with the two buckets that the page names."""
    s3 = request.getfixturevalue("s3_server")
    client = boto3.client(
        "s3",
        endpoint_url=s3.url,
        region_name="us-east-1",
        aws_access_key_id=s3.access_key_id,
        aws_secret_access_key=s3.secret_access_key,
    )
    there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for bucket in {"scans", "scans-reports"} - there:
        client.create_bucket(Bucket=bucket)
    for path in (reader.home / "dicom").iterdir():
        client.upload_file(str(path), "scans", f"2026/{path.name}")
    client.put_object(
        Bucket="scans", Key="2026/corrections/study.json", Body=b'{"00080050": {"vr": "SH", "Value": ["A7"]}}'
    )
    reader.own |= {
        "http://s3.example.internal:8333": s3.url,
        "AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…": " ".join(
            f"{name}={value}" for name, value in s3.environment.items()
        ),
    }


def with_both(reader: Reader, request: pytest.FixtureRequest) -> None:
    """PostgreSQL and S3, with the bucket of the page, and one machine for all that it starts."""
    with_postgresql(reader, request)
    with_s3(reader, request)
    s3 = request.getfixturevalue("s3_server")
    client = services.boto3_client(s3)
    client.create_bucket(Bucket="images")
    client.close()
    reader.environ |= {**s3.environment, "LIGHTWELL_CODEC_WORKERS": "1", "LIGHTWELL_WORKERS": "1"}
    reader.own |= {"10.0.0.5": "127.0.0.1", "10.0.0.6": "127.0.0.1"}
    reader.own["/etc/lightwell/secret.key"] = str(reader.home / "checkout" / "secret.key")


def with_something_to_move(reader: Reader, request: pytest.FixtureRequest) -> None:
    """PostgreSQL, S3, and a data folder whose server was stopped."""
    with_postgresql(reader, request)
    with_s3(reader, request)
    s3 = request.getfixturevalue("s3_server")
    client = services.boto3_client(s3)
    client.create_bucket(Bucket="archive")
    client.close()
    begin(reader, request)
    reader.close()
    reader.environ |= {**s3.environment, "LIGHTWELL_CODEC_WORKERS": "1", "LIGHTWELL_WORKERS": "1"}


def with_two_versions(reader: Reader, request: pytest.FixtureRequest) -> None:
    """An image set that was changed once."""
    begin(reader, request)
    reader.type('eval "$(lightwell env)"')
    reader.terminal.python(_CHANGE)


_CHANGE = """
import boto3, json
client = boto3.client("medical-imaging")
store = client.list_datastores()["datastoreSummaries"][0]["datastoreId"]
found = client.search_image_sets(datastoreId=store)["imageSetsMetadataSummaries"][0]["imageSetId"]
change = {"SchemaVersion": "1.1", "Study": {"DICOM": {"StudyDescription": "changed"}}}
client.update_image_set_metadata(
    datastoreId=store, imageSetId=found, latestVersionId="1",
    includeStudyImageSets=True,
    updateImageSetMetadataUpdates={"DICOMUpdates": {"updatableAttributes": json.dumps(change).encode()}},
)
"""


def with_patients(reader: Reader, request: pytest.FixtureRequest) -> None:
    """The patients and studies that the page names, in the data stores that it names."""
    folder = reader.home / "dicom"
    for number, (patient, study) in enumerate(
        [
            ("P1", "1.2.3"),
            ("P2", "1.2.4"),
            ("4711", "1.2.5"),
            ("4712", "1.2.6"),
            ("4713", "1.2.840.113619.2.1"),
        ],
        2,
    ):
        file = ct(study=str(number), PatientID=patient, StudyInstanceUID=study)
        write(folder / f"{patient}.dcm", file)
    reader.type("lightwell import /path/to/dicom --datastore default")
    reader.type("lightwell import /path/to/dicom --datastore ward-3")


def about_reading(reader: Reader, request: pytest.FixtureRequest) -> None:
    """The page starts a server and makes the data store ``reading``."""
    reader.about = "reading"


def with_a_file(reader: Reader, request: pytest.FixtureRequest) -> None:
    """A file in the folder where the reader is; the page makes the data store ``reading``."""
    reader.about = "reading"
    begin(reader, request)
    write(reader.home / "checkout" / "image.dcm", ct(9))


def with_ohif(reader: Reader, request: pytest.FixtureRequest) -> None:
    """A folder where npm's package would lie: the page is about lightwell's part."""
    dist = reader.home / "checkout" / "package" / "dist"
    dist.mkdir(parents=True)
    (dist / "index.html").write_text("<html><head></head><body></body></html>")
    (dist / "app-config.js").write_text("window.config = {};")


BEFORE: dict[str, Callable[[Reader, pytest.FixtureRequest], None]] = {
    "README.md": from_nothing,
    "docs/quickstart.md": from_nothing,
    "docs/howto/dicomweb-clients.md": with_a_file,
    "docs/howto/erase.md": with_patients,
    "docs/howto/export.md": with_patients,
    "docs/howto/import-from-s3.md": with_s3,
    "docs/howto/move.md": with_something_to_move,
    "docs/howto/ohif.md": with_ohif,
    "docs/howto/oidc.md": about_reading,
    "docs/howto/postgresql.md": with_postgresql,
    "docs/howto/scale-out.md": with_both,
    "docs/howto/tls-and-proxies.md": with_a_certificate,
    "docs/concepts/versions.md": with_two_versions,
}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", PAGES)
def test_works_as_it_stands(page: str, reader: Reader, request: pytest.FixtureRequest) -> None:
    found = [block for block in blocks(ROOT / page) if block.needs is None]
    if found:
        BEFORE.get(page, begin)(reader, request)
    for block in found:
        reader.paste(block)


def test_notices_what_fails(reader: Reader) -> None:
    with pytest.raises(AssertionError, match="ls /nowhere"):
        reader.type("ls /nowhere\ntrue")


def test_notices_what_prints_something_else(reader: Reader) -> None:
    reader.terminal.python(">>> three = 3")
    with pytest.raises(AssertionError, match="Got:"):
        reader.terminal.python(">>> three + 1\n3")
