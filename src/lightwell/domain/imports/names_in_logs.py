"""Texts for the log without the names of files: those are often the names of patients.

Whoever may see a job is shown the whole text with it; reports and the database keep it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lightwell.domain.imports.jobs import InputFile, Job

_SHORTEST = 4
_PATH = re.compile(r"(?<![^\s'\"(=,])/(?=\S)")
# The last one: paths, which may hold anything, come before.
_REASON = re.compile(r".*( cannot be [a-z ]+: (?:Input/output error|[^/])+)", re.DOTALL)
_ENDS = frozenset("/ :,.;)'\"-")


def without_files(text: str, files: Iterable[InputFile]) -> str:
    """``text`` with the number of each file where it is named; very short names are those of nobody."""
    names: dict[str, int] = {}
    for file in files:
        kind, *places = file.location or ("",)
        for name in (file.name, *places[kind == "s3" :]):  # not the bucket
            if isinstance(name, str) and len(name) >= _SHORTEST and name in text:
                names[name] = file.number
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, f"(file {names[name]})")
    return text


def without_paths(text: str, own: Iterable[str]) -> str:
    """``text``, or why something cannot be used, if it has a path that is not at or below one of ``own``."""
    for found in _PATH.finditer(text):
        rest = text[found.start() :]
        if not any(rest.startswith(place) and rest[len(place) :][:1] in {"", *_ENDS} for place in own):
            reason = _REASON.fullmatch(text)
            return "(a path that is not named here)" + ("" if reason is None else reason[1])
    return text


def of_job(text: str, job: Job) -> str:
    """``text`` up to where it names something below the input of a job."""
    where = f"`lightwell jobs show {job.id}` says why"
    if job.source is not None:
        return where  # the paths themselves
    below = re.search(re.escape(job.input_uri) + r"(?!\.?(?:[\s,:;)]|$))", text)
    return text if below is None else f"{text[: below.end()]}… ({where})"
