"""Import of small MR instances on PostgreSQL and S3 (SeaweedFS), against the embedded default: SQLite and a
local folder. Both with two codec workers, with the input on S3 and with the input in a folder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from tests.support.services import boto3_client, new_bucket

from bench.inputs import small_mr
from bench.inputs.small_mr import SmallInstances
from bench.measure.cpu_meter import ServiceMeter
from bench.measure.repeat import least_disturbed
from bench.results import Options, Outcome, noise, ratios, spread
from bench.scenarios.small_instances import COUNT, import_all
from bench.servers import lightwell_server, services
from bench.servers.lightwell_server import Server

BARS = {"s3": "far-import-s3", "local": "far-import-local"}
_UPLOADS = 8


def run(options: Options) -> list[Outcome]:
    if reason := lightwell_server.missing():
        return [Outcome(key, skipped=reason) for key in BARS.values()]
    try:
        with ExitStack() as stack:
            endpoint = stack.enter_context(services.s3())
            database = stack.enter_context(services.postgresql())
            rounds = _rounds(stack, endpoint, database, options)
    except services.Unavailable as unavailable:
        return [Outcome(key, skipped=str(unavailable)) for key in BARS.values()]
    return [
        Outcome(
            bar,
            ratios(rounds, f"far {input_} rate", f"embedded {input_} rate"),
            f"PostgreSQL and S3 {spread(rounds, f'far {input_} rate')} instances/s "
            f"({_cpu(rounds, f'far {input_}')}), "
            f"embedded {spread(rounds, f'embedded {input_} rate')} "
            f"({_cpu(rounds, f'embedded {input_}')}); {noise(rounds)}",
            rounds=rounds,
        )
        for input_, bar in BARS.items()
    ]


def _cpu(rounds: list[dict[str, float]], whose: str) -> str:
    """CPU an instance of lightwell, of PostgreSQL and of the S3 server."""
    parts = (("lightwell", "cpu"), ("PostgreSQL", "postgresql"), ("S3 server", "s3"))
    return " + ".join(f"{name} {spread(rounds, f'{whose} {key}', 2)}" for name, key in parts) + " ms CPU each"


def _import(subject: Server, title: str, files: SmallInstances) -> dict[str, float]:
    with ServiceMeter() as meter:
        took = import_all(subject, title, files)
    count = len(files.paths)
    return {**took, "postgresql": 1000 * meter.postgresql / count, "s3": 1000 * meter.s3 / count}


def _rounds(
    stack: ExitStack, endpoint: services.S3, database: str, options: Options
) -> list[dict[str, float]]:
    count = COUNT // 20 if options.quick else COUNT
    files, warm = small_mr.instances(count), small_mr.instances(small_mr.SERIES)
    input_ = {"LIGHTWELL_S3_ENDPOINT_URL": endpoint.url, **endpoint.environment}
    far = {"LIGHTWELL_DATABASE_URL": database, **services.s3_settings(endpoint), **input_}
    workers = {"LIGHTWELL_CODEC_WORKERS": "2"}
    subjects = {
        "far": Server("PostgreSQL and S3", workers=2, settings={**far, **workers}),
        "embedded": Server("embedded", workers=2, settings={**input_, **workers}),
    }
    for subject in subjects.values():
        stack.callback(subject.stop)
    inputs = {"s3": _uploaded(endpoint, files), "local": files}
    for subject in subjects.values():
        import_all(subject, "warm", warm)
    rounds = []
    turns = [(name, where) for where in inputs for name in subjects]
    for number in range(options.rounds):
        found: dict[str, float] = {}
        for name, where in turns[:: 1 if number % 2 else -1]:
            subject, given, title = subjects[name], inputs[where], f"{where}-{number}"
            took = least_disturbed(
                lambda s=subject, t=title, g=given: _import(s, t, g),  # type: ignore[misc]
                "others",
                options,
            )
            found |= {f"{name} {where} {key}": value for key, value in took.items()}
        rounds.append(found)
        print(
            f"  round {number + 1}  " + "  ".join(f"{n} {w} {found[f'{n} {w} rate']:.0f}/s" for n, w in turns)
        )
    return rounds


def _uploaded(endpoint: services.S3, files: SmallInstances) -> SmallInstances:
    """The same files in a bucket of S3."""
    bucket, client = new_bucket(endpoint), boto3_client(endpoint)

    def put(number: int) -> None:
        path = files.paths[number]
        key = f"in/{path.parent.name}/{path.name}"
        client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())

    with ThreadPoolExecutor(_UPLOADS) as pool:
        list(pool.map(put, range(len(files.paths))))
    client.close()
    return SmallInstances(f"s3://{bucket}/in/", files.paths)
