"""Reports as HTML, as plain text, and as XML (PS3.18 §8.7.4).

The HTML is one page without scripts, links or anything else that would be loaded; every text of the file is
escaped. The XML is the Native DICOM Model (PS3.19 A.1), since PS3.18 names no schema.
"""

from __future__ import annotations

import json
from html import escape

from pydicom.dataset import Dataset

from lightwell.domain.rendering import HTML, REPORT_TYPES, TEXT, XML
from lightwell.imaging.dataset.dicom_xml import native_model
from lightwell.imaging.reports.content_tree import Report, read_report

_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:52em;margin:2em auto;padding:0 1em;color:#1b1f24;"
    "background:#fff}h1{font-size:1.5em}table{border-collapse:collapse;margin-bottom:1.5em}"
    "th{text-align:left;font-weight:600;padding:.1em 1.5em .1em 0;vertical-align:top;color:#57606a}"
    "h2{font-size:1.1em;margin:1.2em 0 .3em}dl{margin:0}dl div{display:flex;gap:.6em;padding:.1em 0}"
    "dt{font-weight:600;min-width:12em}dt:not(:empty):after{content:':'}dd{margin:0;white-space:pre-wrap;"
    "overflow-wrap:anywhere}"
)
_DEEPEST_HEADING = 6
_INDENT = "  "


def render_report(dataset: Dataset, media_type: str) -> bytes:
    """A structured report in one of `REPORT_TYPES`; to be called within `pydicom_errors`.

    Raises `RenderFailure` for one that is too large.
    """
    if media_type == XML:
        return native_model(json.dumps(dataset.to_json_dict(), ensure_ascii=False).encode("utf-8", "replace"))
    report = read_report(dataset)
    if media_type == HTML:
        return _html(report).encode()
    if media_type == TEXT:
        return _plain(report).encode()
    raise ValueError(f"{media_type} is not one of {REPORT_TYPES}")


def _html(report: Report) -> str:
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(report.title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1><bdi>{escape(report.title)}</bdi></h1><table>"
    ]
    parts += [f"<tr><th>{name}</th><td><bdi>{escape(value)}</bdi></td></tr>" for name, value in report.header]
    parts.append("</table>")
    for line in report.lines:
        margin = f' style="margin-left:{1.4 * line.depth:.1f}rem"' if line.depth else ""
        if line.is_heading:
            level = min(line.depth + 2, _DEEPEST_HEADING)
            parts.append(f"<h{level}{margin}><bdi>{escape(line.name)}</bdi></h{level}>\n")
        else:
            name = f"<bdi>{escape(line.name)}</bdi>" if line.name else ""
            parts.append(
                f"<dl{margin}><div><dt>{name}</dt><dd><bdi>{escape(line.value)}</bdi></dd></div></dl>\n"
            )
    parts.append("</body></html>\n")
    return "".join(parts)


def _plain(report: Report) -> str:
    lines = [report.title, "=" * min(len(report.title), 80), ""]
    lines += [f"{name}: {value}" for name, value in report.header]
    lines.append("")
    for line in report.lines:
        indent = _INDENT * line.depth
        if line.is_heading:
            lines += ["", indent + line.name]
        else:
            value = line.value.replace("\n", "\n" + indent + _INDENT)
            lines.append(f"{indent}{line.name}: {value}" if line.name else indent + value)
    return "\n".join(lines) + "\n"
