"""What the route table says about one operation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from msgspec import Struct


@dataclass(frozen=True, slots=True)
class QueryMember:
    """A member of a request that is sent in the query string under `name`."""

    name: str
    member: str
    kind: Literal["string", "integer", "boolean", "strings"]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation: its path, how its request is read, what its answer consists of.

    Labels of the template have the wire names of the members that they fill. `body` are the wire names that
    are read from a JSON object; `payload` is the one member that is the whole body instead. `blob` and the
    second of each pair of `headers` are attributes of the response.
    """

    operation: str
    function: str
    method: str
    template: str
    request: type[Struct]
    response: type[Struct]
    query: tuple[QueryMember, ...]
    body: tuple[str, ...]
    payload: str | None
    blob: str | None
    headers: tuple[tuple[str, str], ...]
    errors: tuple[str, ...]
    status: int
    host_prefix: str
