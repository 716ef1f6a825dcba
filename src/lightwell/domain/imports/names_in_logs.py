"""Texts for the log without the names of files: those are often the names of patients.

Whoever may see a job is shown the whole text with it; reports and the database keep it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lightwell.domain.imports.jobs import InputFile, Job

_SHORTEST = 4


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


def of_job(text: str, job: Job) -> str:
    """``text`` up to where it names something below the input of a job."""
    where = f"`lightwell jobs show {job.id}` says why"
    if job.source is not None:
        return where  # the paths themselves
    below = re.search(re.escape(job.input_uri) + r"(?!\.?(?:[\s,:;)]|$))", text)
    return text if below is None else f"{text[: below.end()]}… ({where})"
