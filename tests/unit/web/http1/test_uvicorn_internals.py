"""What `web.http1` relies on in uvicorn and httptools, most of it undocumented, is there as expected.

A uvicorn that changes any of it fails here, by name, before it fails on a connection. The tables are
complete: what `web.http1` uses beyond them fails, too. What to look at in an upgrade is in
docs/design/uvicorn.md.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http import flow_control, httptools_impl
from uvicorn.server import ServerState

import lightwell.web.http1
from lightwell.web.http1 import protocol, response_cycle, server

FOLDER = Path(lightwell.web.http1.__file__).parent

IMPORTED = {
    "uvicorn",
    "uvicorn.protocols.http.flow_control.FlowControl",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol",
    "uvicorn.protocols.http.httptools_impl.RequestResponseCycle",
    "uvicorn.protocols.http.httptools_impl.STATUS_LINE",
    "httptools",
}

# Our class → the class of uvicorn below it, what of it is overridden, and what else of it is used.
SUBCLASSES: dict[type, tuple[type, set[str], set[str]]] = {
    protocol.Protocol: (
        httptools_impl.HttpToolsProtocol,
        {
            *("connection_made", "connection_lost", "pause_writing", "resume_writing", "data_received"),
            *("on_message_begin", "on_header", "on_body", "on_headers_complete", "on_message_complete"),
            *("on_response_complete", "send_400_response"),
        },
        {
            *("app", "client", "cycle", "expect_100_continue", "flow", "headers", "logger", "access_logger"),
            *(
                "loop",
                "parser",
                "pipeline",
                "scheme",
                "server",
                "server_state",
                "tasks",
                "timeout_keep_alive",
            ),
            *("transport", "url", "_start_asgi_task"),
        },
    ),
    response_cycle.ResponseCycle: (
        httptools_impl.RequestResponseCycle,
        {"receive", "send"},
        {
            *("body", "default_headers", "disconnected", "flow", "keep_alive", "message_event", "more_body"),
            *("on_response", "response_complete", "response_started", "run_asgi", "scope", "transport"),
            "waiting_for_100_continue",
        },
    ),
    protocol._Flow: (flow_control.FlowControl, {"resume_reading"}, {"read_paused"}),
    server._Server: (
        uvicorn.Server,
        {"startup", "shutdown", "capture_signals"},
        {"config", "handle_exit", "server_state", "servers", "started"},
    ),
}

# Used of these, by those who have one.
FLOW = {"drain", "pause_reading", "read_paused", "resume_reading", "write_paused"}
STATE = {"default_headers", "total_requests", "connections", "tasks"}
HTTPTOOLS = {
    *("HttpParserError", "HttpParserInvalidMethodError", "HttpParserUpgrade", "HttpRequestParser"),
    "parse_url",
}
PARSER = {"feed_data", "get_http_version", "get_method", "should_keep_alive", "should_upgrade"}

PARAMETERS = {
    httptools_impl.HttpToolsProtocol.__init__: ["config", "server_state", "app_state", "_loop"],
    httptools_impl.HttpToolsProtocol.connection_made: ["transport"],
    httptools_impl.HttpToolsProtocol.connection_lost: ["exc"],
    httptools_impl.HttpToolsProtocol.send_400_response: ["msg"],
    httptools_impl.HttpToolsProtocol._start_asgi_task: ["cycle", "app"],
    httptools_impl.RequestResponseCycle.__init__: [
        *("scope", "transport", "flow", "logger", "access_logger", "access_log", "default_headers"),
        *("message_event", "expect_100_continue", "keep_alive", "on_response"),
    ],
    httptools_impl.RequestResponseCycle.run_asgi: ["app"],
    httptools_impl.RequestResponseCycle.receive: [],
    httptools_impl.RequestResponseCycle.send: ["message"],
    flow_control.FlowControl.__init__: ["transport"],
    uvicorn.Server.startup: ["sockets"],
    uvicorn.Server.shutdown: ["sockets"],
    uvicorn.Server.run: ["sockets"],
    uvicorn.Server.handle_exit: ["sig", "frame"],
    uvicorn.Server.capture_signals: [],
}

CONFIG = {
    *("interface", "loop", "http", "ws", "lifespan", "log_config", "access_log", "proxy_headers"),
    *("server_header", "headers", "backlog", "timeout_keep_alive", "timeout_graceful_shutdown"),
}

TREES = {file.stem: ast.parse(file.read_text()) for file in sorted(FOLDER.glob("*.py"))}


def has(owner: type, name: str) -> bool:
    """Whether a class has an attribute, or its own code sets it on an instance."""
    if hasattr(owner, name):
        return True
    return re.search(rf"self\.{name}\b(:[^=\n]+)?\s*=[^=]", inspect.getsource(owner)) is not None


def attributes(tree: ast.AST, *owners: str) -> set[str]:
    """The names that are used of what is written as one of ``owners``, such as ``self.flow``."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in owners
    }


def tree_of(ours: type) -> ast.ClassDef:
    tree = TREES[ours.__module__.rpartition(".")[2]]
    return next(
        node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == ours.__name__
    )


def test_imports_no_more_than_the_table_says() -> None:
    found = set()
    for node in (node for tree in TREES.values() for node in ast.walk(tree)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {f"{node.module}.{name.name}" for name in node.names}
    assert {name for name in found if name.partition(".")[0] in ("uvicorn", "httptools")} == IMPORTED


@pytest.mark.parametrize("ours", SUBCLASSES, ids=lambda ours: ours.__name__)
def test_every_name_of_the_parent_class_is_there_and_in_the_table(ours: type) -> None:
    parent, overridden, used = SUBCLASSES[ours]
    assert issubclass(ours, parent)
    assert [name for name in sorted(overridden | used) if not has(parent, name)] == []
    tree = tree_of(ours)
    defined = {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    } - {"__init__"}
    assert {name for name in defined if has(parent, name)} == overridden
    names = attributes(tree, "self", "super()")
    if ours is response_cycle.ResponseCycle:
        names |= attributes(TREES["protocol"], "cycle", "exchange", "before", "self.cycle", "self._current")
    assert {name for name in names - defined - {"__init__"} if has(parent, name)} == used


def test_every_other_name_is_there_and_in_the_table() -> None:
    trees = ast.Module([node for tree in TREES.values() for node in tree.body], [])
    assert attributes(trees, "self.flow") == FLOW
    assert [name for name in FLOW if not has(flow_control.FlowControl, name)] == []
    assert attributes(trees, "self.server_state") <= STATE
    assert [name for name in STATE if not has(ServerState, name)] == []
    assert attributes(trees, "httptools") == HTTPTOOLS
    assert [name for name in HTTPTOOLS if not hasattr(httptools, name)] == []
    assert attributes(trees, "self.parser", "parser") == PARSER
    assert [name for name in PARSER if not hasattr(httptools.HttpRequestParser, name)] == []
    assert attributes(trees, "uvicorn") == {"Config", "Server"}


@pytest.mark.parametrize("called", PARAMETERS, ids=lambda called: called.__qualname__)
def test_parameters_are_those_expected(called: object) -> None:
    assert callable(called)
    expected = PARAMETERS[called]  # type: ignore[index]
    assert [name for name in inspect.signature(called).parameters if name != "self"] == expected


def test_every_option_of_the_configuration_is_there() -> None:
    call = next(
        node
        for node in ast.walk(TREES["server"])
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "uvicorn.Config"
    )
    assert {keyword.arg for keyword in call.keywords} == CONFIG
    assert set(inspect.signature(uvicorn.Config).parameters) >= CONFIG


def test_status_lines_are_whole_lines_by_status() -> None:
    assert httptools_impl.STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n"
    assert set(httptools_impl.STATUS_LINE) == set(range(100, 600))


def test_the_server_closes_what_its_startup_left_in_servers() -> None:
    """`Acceptor` stands in the place of asyncio's servers: uvicorn calls these two of it, and no more."""
    source = "".join(
        inspect.getsource(method)
        for name, method in vars(uvicorn.Server).items()
        if inspect.isfunction(method) and name not in ("startup", "_log_started_message")
    )
    assert set(re.findall(r"\bserver\.(\w+)", source)) == {"close", "wait_closed"}
