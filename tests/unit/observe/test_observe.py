"""Metrics and logs."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lightwell.observe import logs
from lightwell.observe.metrics import BUCKETS, COUNTERS, Meter


def samples(meter: Meter) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(meter.render([("version", "1")]).decode())
        for sample in family.samples
    }


def test_adds_up_what_all_processes_counted() -> None:
    meter = Meter(["A", "B"], 3)
    for process in range(2):
        recorder = meter.join(process)
        recorder.begin()
        recorder.request("A", 200, 0.003, 10, 20)
        recorder.count("lightwell_import_files_total", "imported", 5)
    found = samples(meter)
    assert found["lightwell_requests_total", (("operation", "A"), ("status", "200"))] == 2
    assert found["lightwell_request_seconds_bucket", (("le", "0.0025"), ("operation", "A"))] == 0
    assert found["lightwell_request_seconds_bucket", (("le", "0.005"), ("operation", "A"))] == 2
    assert found["lightwell_request_seconds_bucket", (("le", "+Inf"), ("operation", "A"))] == 2
    assert found["lightwell_request_seconds_sum", (("operation", "A"),)] == pytest.approx(0.006)
    assert found["lightwell_sent_bytes_total", (("operation", "A"),)] == 40
    assert found["lightwell_import_files_total", (("outcome", "imported"),)] == 10
    assert found["lightwell_requests_in_flight", ()] == 0
    assert not [labels for name, labels in found if ("operation", "B") in labels]


def test_counts_across_a_fork_and_goes_on_after_it() -> None:
    meter = Meter(["A"], 1)
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            recorder = meter.join(0)
            recorder.begin()
            recorder.begin()
            recorder.request("A", 404, BUCKETS[-1] * 2, 0, 0)
            os._exit(0)
        os.waitpid(pid, 0)
    meter.join(0)
    found = samples(meter)
    assert found["lightwell_requests_total", (("operation", "A"), ("status", "404"))] == 2
    assert found["lightwell_requests_in_flight", ()] == 0, "what a dead process was at is over"


def test_knows_statuses_that_it_did_not_expect() -> None:
    meter = Meter(["A"], 1)
    recorder = meter.join(0)
    recorder.begin()
    recorder.request("A", 299, 0, 0, 0)
    assert samples(meter)["lightwell_requests_total", (("operation", "A"), ("status", "other"))] == 1


def test_knows_who_has_the_fewest_connections() -> None:
    meter = Meter([], 3)
    one, two = meter.join(0), meter.join(1)
    one.connections(3)
    assert meter.fewest_connections() == 3, "who takes none does not count"
    two.connections(1)
    assert meter.fewest_connections() == 1
    assert samples(meter)["lightwell_connections", ()] == 4


def test_names_counters_as_prometheus_wants_them() -> None:
    assert all(name.startswith("lightwell_") and name.endswith("_total") for name in COUNTERS)


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level, threads = root.handlers[:], root.level, logging.logThreads
    yield io.StringIO()
    root.handlers[:], logging.logThreads = handlers, threads
    root.setLevel(level)
    logging.logMultiprocessing = True
    logging.getLogger("lightwell").setLevel(logging.NOTSET)


def test_logs_an_event_a_line(stream: io.StringIO) -> None:
    logs.configure("info", "auto", stream)
    log = logging.getLogger("lightwell.test")
    logs.event(log, logging.INFO, "began", job="a\nb", size=3, nothing=None)
    logs.event(log, logging.DEBUG, "unseen")
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("broke")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["began", "broke"]
    assert lines[0]["level"] == "info"
    assert (lines[0]["job"], lines[0]["size"]) == ("a\nb", 3)
    assert "nothing" not in lines[0]
    assert "ValueError: why" in lines[1]["exception"]


def test_logs_text_for_people(stream: io.StringIO) -> None:
    logs.configure("debug", "text", stream)
    logs.event(logging.getLogger("lightwell.test"), logging.DEBUG, "began", size=3)
    assert stream.getvalue().endswith("debug   began size=3\n")


def test_logs_what_strangers_sent_on_one_line(stream: io.StringIO) -> None:
    logs.configure("debug", "text", stream)
    logs.event(
        logging.getLogger("lightwell.test"), logging.INFO, "said", line="a\n2026 error\r\x1b[31m\u2028é"
    )
    (line,) = stream.getvalue().splitlines()
    assert line.endswith(r"said line=a\n2026 error\r\x1b[31m\u2028é")


def test_keeps_the_noise_of_others_out(stream: io.StringIO) -> None:
    logs.configure("debug", "text", stream)
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("sqlalchemy.engine").info("SELECT")
    assert stream.getvalue() == ""
