"""What the route table says of one operation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from msgspec import Struct


@dataclass(frozen=True, slots=True)
class QueryMember:
    """A member of a request that travels in the query string under `name`."""

    name: str
    member: str
    kind: Literal["string", "integer", "boolean", "strings"]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation: where it lies, how its request is bound, what its answer is made of.

    Labels of the template bear the wire names of the members that they bind. `body` are the wire
    names that are read from a JSON object; `payload` is the one member that is the whole body
    instead. `blob` and the second of each pair of `headers` are attributes of the answer.
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
