"""Which media types a client takes (RFC 9110 §12.5.1). Pure functions."""

from __future__ import annotations

from collections.abc import Iterable


def accepted(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The Accept headers of a request as one, None without any. Names are in lower case."""
    values = [value.decode("latin-1") for name, value in headers if name == b"accept"]
    return ", ".join(values) if values else None


def quality(accept: str, media_type: str) -> float | None:
    """How much a client wants ``media_type``, 0 to 1, by the most specific range of ``accept`` that fits.

    None if none fits. Parameters of a range other than ``q`` are not looked at; a range that cannot be read
    fits nothing.
    """
    main = media_type.split("/")[0]
    found: float | None = None
    best = -1
    for part in accept.lower().split(","):
        name, *parameters = part.split(";")
        name = name.strip()
        if name == media_type.lower():
            rank = 2
        elif name == f"{main}/*":
            rank = 1
        elif name in ("*/*", "*"):
            rank = 0
        else:
            continue
        if rank > best:
            best, found = rank, _weight(parameters)
    return found


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return weight if 0 <= weight <= 1 else 0.0
    return 1.0
