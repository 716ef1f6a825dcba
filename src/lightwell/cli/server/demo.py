"""``lightwell demo``: start the server, import the sample studies, print a working boto3 snippet.

With ``--once`` it instead reads every frame back through boto3, compares it with what pydicom decodes from
the imported file, prints a summary and exits.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightwell.auth.credentials import FILE, PROFILE
from lightwell.cli import flags
from lightwell.cli.environment import command, program, root_credentials
from lightwell.errors import LightwellError
from lightwell.settings import Settings

BUCKET = "lightwell-demo"
STORE = "demo"
_TIMEOUT_SECONDS = 300
# Nothing printed contains a secret, but for links: that to the console is good once, that to OHIF expires.
# Terminals keep their scrollback and CI keeps its logs.
_WITH_PROFILE = """\
os.environ["AWS_SHARED_CREDENTIALS_FILE"] = {file}
session = boto3.Session(profile_name="{profile}")
"""
_WITH_ENVIRONMENT = """\
session = boto3.Session()
"""
_SNIPPET = """\
import boto3, gzip, json, os
from botocore.config import Config

{session}\
client = session.client(
    "medical-imaging",
    endpoint_url="{url}",
    region_name="{region}",
    config=Config(inject_host_prefix=False),
)
store, image_set = "{store}", "{image_set}"
found = client.search_image_sets(
    datastoreId=store,
    searchCriteria={{"filters": [{{"operator": "EQUAL", "values": [{{"DICOMPatientId": "LIGHTWELL-1"}}]}}]}},
)
print(found["imageSetsMetadataSummaries"][0]["DICOMTags"]["DICOMPatientName"])
blob = client.get_image_set_metadata(datastoreId=store, imageSetId=image_set)["imageSetMetadataBlob"]
series = next(iter(json.loads(gzip.decompress(blob.read()))["Study"]["Series"].values()))
frame = next(iter(series["Instances"].values()))["ImageFrames"][0]["ID"]
answer = client.get_image_frame(
    datastoreId=store, imageSetId=image_set, imageFrameInformation={{"imageFrameId": frame}}
)
print(answer["contentType"], len(answer["imageFrameBlob"].read()), "bytes of HTJ2K")
"""


@dataclass(frozen=True, slots=True)
class Imported:
    """The data store, the summary from the job's manifest, and the image set of each file."""

    store: str
    summary: dict[str, Any]
    files: dict[str, str]


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="check every frame against its file, then exit")
    flags.add(parser, ("data", "host", "port", "insecure_http", "workers", "region", "account_id", "ohif"))


def run(args: argparse.Namespace) -> int:
    settings = flags.settings(args)
    _need_boto3()
    if not args.once:
        return _demo(settings, once=False)
    with tempfile.TemporaryDirectory(prefix="lightwell-demo-") as folder:
        given = settings.sources
        data = settings.data if "data" in given else Path(folder) / "lightwell-data"
        port = settings.port if "port" in given else 0
        return _demo(replace(settings, data=data, port=port), once=True)


def _need_boto3() -> None:
    try:
        import boto3  # noqa: F401
    except ImportError:
        raise LightwellError("The demo needs boto3: pip install 'lightwell[demo]'") from None


def _demo(settings: Settings, *, once: bool) -> int:
    from lightwell.imaging.demo.studies import write_samples

    with tempfile.TemporaryDirectory(prefix="lightwell-samples-") as folder:
        samples = write_samples(Path(folder))
        with _server(settings) as (process, url):
            client = _client(settings, url)
            _say(f"lightwell is up at {url}; importing {len(samples)} sample files")
            imported = _import(client, settings, Path(folder), samples)
            _say(
                f"{imported.summary['numberOfImportedFiles']} files imported into "
                f"{imported.summary['numberOfGeneratedImageSets']} image sets of data store {imported.store}"
            )
            if once:
                return _check(client, imported, Path(folder), samples)
            head = str(samples[-1].relative_to(folder))
            if settings.ohif is not None:
                _say(
                    f"\nTo look at them in OHIF, open this link, valid for 8 hours:\n\n{_link(settings, url)}"
                )
            _say(snippet(settings, url, imported.store, imported.files[head]))
            _say(_to_console(settings, url))
            return _stay(process)


@contextmanager
def _server(settings: Settings) -> Iterator[tuple[subprocess.Popen[str], str]]:
    words = [sys.executable, "-m", "lightwell.cli.main", "serve", "--data", str(settings.data)]
    words += ["--host", settings.host, "--port", str(settings.port), "--region", settings.region]
    words += ["--account-id", settings.account_id, "--workers", str(settings.workers)]
    if settings.ohif is not None:
        words += ["--ohif", str(settings.ohif)]
    if settings.insecure_http:
        words += ["--insecure-http"]
    if "log_level" not in settings.sources:
        words += ["--log-level", "warning"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if "listening on" not in line:
            raise LightwellError("The server did not start; see its messages above")
        yield process, line.split()[-1]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=40)


def _to_console(settings: Settings, url: str) -> str:
    """What the demo says last: how to look at the samples."""
    from lightwell.cli.console_link import MINUTES, recorded_link

    another = shlex.join([program(), "console", "--data", str(settings.data)])
    link = recorded_link(settings, url, "demo")
    return (
        "\nTo look at them, open this link in a browser. It signs you in, once, within "
        f"{MINUTES} minutes:\n\n    {link}\n\n"
        f"For another link, run {another}\nPress Ctrl-C to stop the server."
    )


def _link(settings: Settings, url: str) -> str:
    """What opens the samples in OHIF; the data store accepts tokens from now on, if it did not before."""
    from lightwell.cli import command_trail
    from lightwell.cli.access.token import mint, viewer_link
    from lightwell.cli.authorizer_arn import BUILTIN, authorizer_arn
    from lightwell.cli.contents.named_store import existing_in
    from lightwell.cli.store_session import database_session
    from lightwell.clock import Clock
    from lightwell.operations.authorizers import set_authorizer

    with database_session(settings) as db:
        store, now = existing_in(db, STORE), Clock().now()
        arn = authorizer_arn(settings, BUILTIN)
        if store.lambda_authorizer_arn != arn:
            before = set_authorizer(db, store.id, arn, now)
            command_trail.changed(f"authorizer of data store {store.id}", before, arn)
            store = existing_in(db, STORE)
        return viewer_link(url, mint(settings, db, store, seconds=8 * 3600, may_store=True, now=now))


def _client(settings: Settings, url: str) -> Any:
    import boto3
    from botocore.config import Config

    key = root_credentials(settings)
    return boto3.client(
        "medical-imaging",
        endpoint_url=url,
        region_name=settings.region,
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key,
        config=Config(inject_host_prefix=False),
    )


def _import(client: Any, settings: Settings, folder: Path, samples: list[Path]) -> Imported:
    bucket = settings.buckets / BUCKET
    for path in samples:
        target = bucket / "input" / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    store = _store(client)
    job = client.start_dicom_import_job(
        jobName="demo",
        datastoreId=store,
        dataAccessRoleArn=f"arn:aws:iam::{settings.account_id}:role/demo-import",
        inputS3Uri=f"s3://{BUCKET}/input/",
        outputS3Uri=f"s3://{BUCKET}/output/",
    )
    done = _wait(client, store, job["jobId"])
    output = bucket / done["outputS3Uri"].removeprefix(f"s3://{BUCKET}/")
    summary = json.loads((output / "job-output-manifest.json").read_text())["jobSummary"]
    files = {}
    for line in (output / "SUCCESS" / "success.ndjson").read_text().splitlines():
        entry = json.loads(line)
        files[entry["inputFile"].removeprefix("input/")] = entry["importResponse"]["imageSetId"]
    return Imported(store, summary, files)


def _store(client: Any) -> str:
    for page in client.get_paginator("list_datastores").paginate(datastoreStatus="ACTIVE"):
        for store in page["datastoreSummaries"]:
            if store["datastoreName"] == STORE:
                return str(store["datastoreId"])
    return str(client.create_datastore(datastoreName=STORE)["datastoreId"])


def _wait(client: Any, store: str, job: str) -> dict[str, Any]:
    until = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < until:
        properties: dict[str, Any] = client.get_dicom_import_job(datastoreId=store, jobId=job)[
            "jobProperties"
        ]
        if properties["jobStatus"] == "COMPLETED":
            return properties
        if properties["jobStatus"] == "FAILED":
            raise LightwellError(f"The import job failed: {properties['message']}")
        time.sleep(0.2)
    raise LightwellError(f"The import job did not finish within {_TIMEOUT_SECONDS} seconds")


def _check(client: Any, imported: Imported, folder: Path, samples: list[Path]) -> int:
    """Check every frame of every file against its checksum in the metadata and pydicom's decoding."""
    from lightwell.imaging.demo import studies

    documents: dict[str, Any] = {}
    frames = size = 0
    wrong = []
    for path in samples:
        name = str(path.relative_to(folder))
        image_set = imported.files.get(name)
        if image_set is None:
            wrong.append(f"{name}: not imported")
            continue
        if image_set not in documents:
            blob = client.get_image_set_metadata(datastoreId=imported.store, imageSetId=image_set)
            documents[image_set] = json.loads(gzip.decompress(blob["imageSetMetadataBlob"].read()))
        instance = _instance(documents[image_set], studies.sop_instance_uid(path))

        def fetch(entry: dict[str, Any], image_set: str = image_set) -> bytes:
            answer = client.get_image_frame(
                datastoreId=imported.store,
                imageSetId=image_set,
                imageFrameInformation={"imageFrameId": entry["ID"]},
            )
            return bytes(answer["imageFrameBlob"].read())

        stored = [(entry, fetch(entry)) for entry in instance["ImageFrames"]]
        fault = studies.compare(path, instance.get("StoredTransferSyntaxUID"), stored)
        if fault:
            wrong.append(f"{name}: {fault}")
        frames += len(stored)
        size += sum(len(data) for _, data in stored)
    for line in wrong:
        print(f"WRONG  {line}", file=sys.stderr)
    print(
        f"{frames} frames of {len(samples)} files read back ({size:,} bytes): "
        + (f"{len(wrong)} files do not match" if wrong else "all match their files exactly")
    )
    return 1 if wrong else 0


def _instance(document: dict[str, Any], uid: str) -> dict[str, Any]:
    for series in document["Study"]["Series"].values():
        if uid in series["Instances"]:
            found: dict[str, Any] = series["Instances"][uid]
            return found
    raise LightwellError(f"Instance {uid} is missing from the metadata")


def snippet(settings: Settings, url: str, store: str, image_set: str) -> str:
    """What the demo prints for programmers: a program that works, and how other clients get the key."""
    others = command(settings, urlsplit(url).port)
    if settings.root_secret_access_key:
        session, first = _WITH_ENVIRONMENT, f' after eval "$({others})"'
    else:
        file = json.dumps(str(settings.data.resolve() / FILE))
        session, first = _WITH_PROFILE.format(file=file, profile=PROFILE), ""
    code = _SNIPPET.format(session=session, url=url, region=settings.region, store=store, image_set=image_set)
    return (
        f"\nTo read them with boto3, run this in {shlex.quote(sys.executable)}{first}:\n\n{code}\n"
        f'For other AWS clients, run eval "$({others})" in their shell.'
    )


def _stay(process: subprocess.Popen[str]) -> int:
    """Wait for Ctrl-C or SIGTERM, or for the server to exit by itself."""

    def stop(number: int, frame: object) -> None:
        process.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    code = process.wait()
    return 0 if code in (0, -signal.SIGTERM, -signal.SIGINT) else 1


def _say(text: str) -> None:
    print(text, flush=True)
