"""The benchmarks' own instruments: a wrong one would make every number wrong."""

from __future__ import annotations

import re
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bench import report, workspace
from bench.clients.http_load import Request, drive
from bench.clients.paced_load import drive_paced
from bench.inputs import corpus, large_files
from bench.inputs.ct_phantom import ct_slice
from bench.measure.cpu_meter import CpuMeter
from bench.measure.repeat import least_disturbed
from bench.minimal_import import convert
from bench.results import BARS, Options, ratios, spread
from bench.servers import nginx, unrecorded
from bench.servers.process_tree import ProcessTree, ServerFailed
from pydicom import dcmread

from lightwell.settings import load
from tests.support.server import until


@pytest.fixture(autouse=True)
def own_work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_WORK", str(tmp_path / "work"))


def python(tmp_path: Path, program: str) -> ProcessTree:
    return ProcessTree("test", [sys.executable, "-u", "-c", textwrap.dedent(program)], log=tmp_path / "log")


def wait_for(tree: ProcessTree, text: bytes) -> None:
    for _ in tree.wait_for(text.decode(), 240):
        if text in tree.log.read_bytes():
            return


def port_of(tree: ProcessTree) -> int:
    """The port that a server has been given and says, once it listens: ``port 80 …``."""
    for _ in tree.wait_for("port", 240):
        if found := re.search(rb"port (\d+) ", tree.log.read_bytes()):
            return int(found[1])
    raise AssertionError


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[Path, tuple[str, int]]]:
    """A folder and the address of an HTTP/1.1 server of its files."""
    root = tmp_path / "root"
    root.mkdir()
    command = [sys.executable, "-u", "-m", "http.server", "--protocol", "HTTP/1.1", "--bind", "127.0.0.1"]
    tree = ProcessTree("files", [*command, "--directory", str(root), "0"], log=tmp_path / "log")
    try:
        yield root, ("127.0.0.1", port_of(tree))
    finally:
        tree.stop()


def get(path: str, length: int | None = None) -> Request:
    return Request(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), length)


def test_sends_every_request_once(files: tuple[Path, tuple[str, int]]) -> None:
    root, address = files
    for size in range(11):
        (root / str(size)).write_bytes(b"x" * size * 100_000)
    load = drive(
        address,
        [get(f"/{size}", size * 100_000) for size in range(11)],
        connections=4,
        seconds=None,
        processes=2,
    )
    assert load.errors == {}
    assert (len(load.latencies), load.received) == (11, 5_500_000)


def test_repeats_requests_until_the_time_is_up(files: tuple[Path, tuple[str, int]]) -> None:
    root, address = files
    (root / "a").write_bytes(b"abc")
    for seconds in (0.3, 3, 30):  # as much as a busy machine needs
        load = drive(address, [get("/a", 3)], connections=2, seconds=seconds)
        assert load.errors == {}
        assert load.received == 3 * len(load.latencies)
        assert load.wall >= seconds
        if len(load.latencies) > 2:
            break
    assert len(load.latencies) > 2


@pytest.mark.parametrize(
    ("request_", "problem"), [(get("/none"), "status 404"), (get("/a", 4), "unexpected length")]
)
def test_counts_a_wrong_answer_as_an_error(
    files: tuple[Path, tuple[str, int]], request_: Request, problem: str
) -> None:
    root, address = files
    (root / "a").write_bytes(b"abc")
    load = drive(address, [request_, get("/a", 3)], connections=1, seconds=None)
    assert load.errors == {problem: 1}
    assert len(load.latencies) == 1


def test_uploads_bodies_larger_than_the_socket_buffers(tmp_path: Path) -> None:
    tree = python(
        tmp_path,
        """
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
        class Count(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            def do_POST(self):
                size = len(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", str(size // 1_000_000))
                self.end_headers()
                self.wfile.write(b"x" * (size // 1_000_000))
        server = ThreadingHTTPServer(("127.0.0.1", 0), Count)
        print("port", server.server_port, "is open")
        server.serve_forever()
        """,
    )
    try:
        address = "127.0.0.1", port_of(tree)
        body = bytes(20_000_000)
        post = Request(
            f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body, 20
        )
        assert drive(address, [post] * 3, connections=2, seconds=None).errors == {}
    finally:
        tree.stop()


_BURN = """
    import os, time
    def burn(seconds):
        while time.process_time() < seconds: pass
"""


def test_counts_the_cpu_of_ended_children_and_grandchildren(tmp_path: Path) -> None:
    tree = python(
        tmp_path,
        _BURN
        + """
    if os.fork() == 0:
        if os.fork() == 0:
            burn(0.4)      # its parent has ended by then: only a subreaper can count it
            os._exit(0)
        os._exit(0)
    if os.fork() == 0:
        burn(0.2)
        os._exit(0)
    os.wait(), os.wait()
    print("done")
    time.sleep(60)
    """,
    )
    try:
        wait_for(tree, b"done")
        until(lambda: len(tree.pids()) == 1)  # the grandchild, too, has ended
        assert 0.58 <= tree.cpu() < 1.5
    finally:
        tree.stop()


def test_stops_what_the_command_left_running(tmp_path: Path) -> None:
    tree = python(
        tmp_path,
        """
        import os, time
        if os.fork() == 0:
            os.setsid()
            time.sleep(60)
        print("ready")
        time.sleep(60)
        """,
    )
    wait_for(tree, b"ready")
    pids = tree.pids()
    assert len(pids) == 2
    tree.stop(10)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_says_what_a_server_that_ended_wrote(tmp_path: Path) -> None:
    tree = python(tmp_path, "raise SystemExit('no such port')")
    with pytest.raises(ServerFailed, match="no such port"):
        wait_for(tree, b"ready")


def test_tells_the_servers_cpu_from_the_others(tmp_path: Path) -> None:
    tree = python(tmp_path, _BURN + "\n    burn(0.3)\n    print('done')\n    time.sleep(60)")
    try:
        with CpuMeter(tree) as meter:
            wait_for(tree, b"done")
        assert 0.25 < meter.server < 1
        assert meter.wall >= 0.25
    finally:
        tree.stop()


def test_sees_the_memory_of_a_tree(tmp_path: Path) -> None:
    tree = python(
        tmp_path, "import time\nblock = bytearray(b'x') * (64 << 20)\nprint('ready')\ntime.sleep(60)"
    )
    try:
        wait_for(tree, b"ready")
        assert 64 << 20 < tree.pss() < 128 << 20
        assert 64 << 20 < max(tree.peaks().values()) < 128 << 20
    finally:
        tree.stop()


def test_makes_the_same_slice_twice_and_another_next() -> None:
    assert np.array_equal(ct_slice(1, 3, 10), ct_slice(1, 3, 10))
    assert not np.array_equal(ct_slice(1, 3, 10), ct_slice(1, 4, 10))
    assert np.min(ct_slice(1, 3, 10)) == -1024


def test_writes_a_corpus_that_pydicom_reads() -> None:
    made = corpus.ct(3)
    assert corpus.ct(3) == made
    for index, path in enumerate(made.paths()):
        data = dcmread(path)
        assert data.SOPInstanceUID == made.slices[index].sop_instance_uid
        assert data.PixelData == made.pixels(index) == ct_slice(corpus.SEED, index, 3).tobytes()
        assert 110 <= len(data) <= 140


@pytest.mark.parametrize("kind", large_files.KINDS)
def test_writes_a_large_file_that_pydicom_reads(kind: str) -> None:
    uri, frames = large_files.large_file(kind, 10_000_000)
    data = dcmread(workspace.buckets_folder() / uri.removeprefix("s3://") / "large.dcm")
    assert data.NumberOfFrames == frames > 16
    assert np.array_equal(data.pixel_array[17], ct_slice(11, 1, 16))


def test_converts_a_slice_to_values_that_json_can_hold() -> None:
    made = convert(corpus.dataset("ct", 0, 10))
    assert made["PatientName"] == {"Alphabetic": "Lindqvist^Märta^Elisabet"}
    assert made["Rows"] == 512
    assert made["PixelSpacing"] == ["0.703125", "0.703125"]
    assert made["AnatomicRegionSequence"] == [
        {"CodeValue": "51185008", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Chest"}
    ]


@pytest.mark.skipif(nginx.missing() is not None, reason=str(nginx.missing()))
def test_starts_nginx_on_its_files() -> None:
    peer = nginx.Nginx()
    try:
        peer.put("/frames/1", b"frame")
        assert (
            drive(peer.address, [Request(peer.get("/frames/1"), 5)], connections=1, seconds=None).errors == {}
        )
    finally:
        peer.stop()
    assert not peer.tree.alive()


def record(**outcome: object) -> dict[str, object]:
    return {
        "scenario": "frames",
        "command": "python -m bench.run --only frames",
        "options": {"rounds": 3, "seconds": 1, "quick": False},
        "facts": {"date": "2026-01-01", "commit": "abc", "processor": "2 × X"},
        "outcomes": [{"bar": "frames", "values": [], "detail": "", "skipped": "", "rounds": [], **outcome}],
    }


@pytest.mark.parametrize(
    ("values", "verdict"),
    [([0.7, 0.6, 0.8], "aim met"), ([0.5, 0.5, 0.9], "bar met"), ([0.4, 0.9, 0.3], "**missed**")],
)
def test_judges_the_median_of_the_rounds(values: list[float], verdict: str) -> None:
    assert verdict in report.table([record(values=values)])


def test_reports_why_a_row_was_skipped() -> None:
    assert "skipped: nginx is not installed" in report.table([record(skipped="nginx is not installed")])


def test_changes_nothing_outside_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n{report.BEGIN}\nearlier text\n{report.END}\nbelow\n")
    report.write(page)
    text = page.read_text()
    assert text.startswith("above\n") and text.endswith("\nbelow\n")
    assert "earlier text" not in text and "Not measured yet" in text


def test_knows_in_which_direction_a_bar_is_better() -> None:
    assert BARS["start"].verdict(0.5) == "aim met"
    assert BARS["start"].verdict(4.5) == "**missed**"
    assert BARS["metadata"].verdict(0.5) == "bar met"


def test_forms_ratios_within_a_round() -> None:
    rounds = [{"a": 1.0, "b": 2.0}, {"a": 3.0}, {"a": 3.0, "b": 1.0}]
    assert ratios(rounds, "a", "b") == [0.5, 3.0]
    assert spread(rounds, "a", 1) == "3.0 (1.0..3.0)"


def test_waits_no_longer_than_told(tmp_path: Path) -> None:
    tree = python(tmp_path, "import time; time.sleep(60)")
    try:
        begun = time.monotonic()
        with pytest.raises(ServerFailed, match="no miracle"):
            for _ in tree.wait_for("miracle", 0.1):
                pass
        assert time.monotonic() - begun < 50
    finally:
        tree.stop()


def test_measures_again_until_nobody_disturbs() -> None:
    found = iter([{"others": 0.9, "rate": 9.0}, {"others": 0.1, "rate": 1.0}, {"others": 0.0, "rate": 5.0}])
    assert least_disturbed(lambda: next(found), "others", Options(tries=3))["rate"] == 1.0


def test_takes_the_least_disturbed_measurement_in_the_end() -> None:
    found = iter([{"others": 0.9, "rate": 9.0}, {"others": 0.5, "rate": 1.0}])
    assert least_disturbed(lambda: next(found), "others", Options(tries=2))["rate"] == 1.0


def test_keeps_a_trail_of_what_happens_in_the_background_where_requests_leave_none(tmp_path: Path) -> None:
    settings = load({"data": tmp_path}, environ={})
    with unrecorded.no_trail_of_requests(settings, "http-0", None) as trail:
        assert trail is None
    with unrecorded.no_trail_of_requests(settings, "work", None) as trail:
        assert trail is not None
        trail.flush()
    assert [folder.name for folder in (tmp_path / "audit").iterdir()] == ["work"]


def test_charges_a_paced_load_for_what_came_due_meanwhile(files: tuple[Path, tuple[str, int]]) -> None:
    root, address = files
    (root / "a").write_bytes(b"x")
    load = drive_paced(address, [get("/a", 1)], rate=200, connections=4, seconds=0.5)
    assert (len(load.latencies), load.errors) == (100, {})
    load = drive_paced(address, [get("/missing", 1)], rate=200, connections=1, seconds=0.1)
    assert (load.latencies, load.errors) == ([], {"status 404": 20})
