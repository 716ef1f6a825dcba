"""Import warnings: codes, types and the line that ``warning.ndjson`` shows.

Source: devguide/reference-warning-codes. The reason code is the true value of the hexadecimal column; the
``type`` is CamelCase, as in the page's sample line.
"""

from __future__ import annotations

from dataclasses import dataclass

WARNING_CODES = {
    "CoercionOfDataElements": 0xB000,
    "ElementsDiscarded": 0xB006,
    "SopClassDataMismatch": 0xB007,
    "TranscodingException": 0xB100,
    "FramesExtractionFailure": 0xB110,
    "FrameNumberMismatch": 0xB111,
    "InvalidOffsetTable": 0xB112,
    "UnsupportedTransferSyntax": 0xB120,
    "InvalidUidFormat": 0xB201,
    "InvalidDicomValueLength": 0xB202,
    "Other": 0xBFFF,
}


@dataclass(frozen=True, slots=True)
class Warning:
    """Something that a person should know about an instance, which is imported nevertheless."""

    type: str
    message: str

    def to_json(self) -> dict[str, object]:
        return {"warning_reason_code": WARNING_CODES[self.type], "type": self.type, "message": self.message}
