"""Parsed elements: their JSON in the metadata document and in the DICOM JSON Model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lightwell.domain import limits
from lightwell.domain.imports.warnings import Warning
from lightwell.imaging.dataset import values
from lightwell.imaging.dataset.character_sets import Charset
from lightwell.imaging.dataset.dictionary import Attribute

#: The level of elements that the metadata omit: group lengths.
SKIPPED = 4

#: OverlayBitPosition of each overlay.
OVERLAY_POSITIONS = range(0x60000102, 0x60200102, 0x00020000)

#: Elements whose value the server itself uses, besides showing it.
NEEDED = frozenset(
    (
        0x00020010,  # TransferSyntaxUID
        0x00080005,  # SpecificCharacterSet
        0x00080016,  # SOPClassUID
        0x00080018,  # SOPInstanceUID
        0x00080020,  # StudyDate
        0x00080030,  # StudyTime
        0x00080050,  # AccessionNumber
        0x00081030,  # StudyDescription
        0x00100010,  # PatientName
        0x00100020,  # PatientID
        0x00100030,  # PatientBirthDate
        0x00100040,  # PatientSex
        0x0020000D,  # StudyInstanceUID
        0x0020000E,  # SeriesInstanceUID
        0x00200010,  # StudyID
        0x00200011,  # SeriesNumber
        0x00200013,  # InstanceNumber
        0x00201206,  # NumberOfStudyRelatedSeries
        0x00201208,  # NumberOfStudyRelatedInstances
        0x00280002,  # SamplesPerPixel
        0x00280004,  # PhotometricInterpretation
        0x00280006,  # PlanarConfiguration
        0x00280008,  # NumberOfFrames
        0x00280010,  # Rows
        0x00280011,  # Columns
        0x00280100,  # BitsAllocated
        0x00280101,  # BitsStored
        0x00280102,  # HighBit
        0x00280103,  # PixelRepresentation
        0x00283002,  # LUTDescriptor
        *OVERLAY_POSITIONS,
    )
)


@dataclass(slots=True, eq=False)
class ParsedElement:
    """One element.

    ``level`` is one of `domain.image_sets.levels`, or `SKIPPED`. ``json`` is ``"key":value``. ``vrs`` are
    its entries in DICOMVRs, each ``"digits":"VR"``: its own, then those of nested elements. ``value`` is set
    for `NEEDED` elements only: text (padding trimmed), a number, or None. ``nested``: a sequence. ``dicom``
    is the element in the DICOM JSON Model (`dicom_json`), empty if it is not shown there.
    """

    tag: int
    level: int
    json: bytes
    vrs: tuple[bytes, ...] = ()
    warnings: tuple[Warning, ...] = ()
    value: str | float | None = None
    needed: bool = False
    nested: bool = False
    dicom: bytes = b""


def listed_vr(attribute: Attribute, vr: str) -> bytes:
    """The entry of an element in DICOMVRs."""
    return f'"{attribute.hex}":"{vr}"'.encode()


def has_usual_key(attribute: Attribute, json: bytes) -> bool:
    """True if ``json`` has the attribute's usual key; False if an invalid value is under the tag's digits."""
    return json.startswith(attribute.key)


def element_json(
    attribute: Attribute,
    vr: str,
    length: int,
    read: Callable[[], bytes],
    charset: Charset,
    warnings: list[Warning],
    *,
    big: bool = False,
) -> tuple[bytes, bytes]:
    """``"key":value`` of an element other than a sequence, and its entry in DICOMVRs (b"" if it has none).

    Bytes that are not a valid value of the VR, and standard elements that the file declares as UN, are shown
    as UN under the digits of their tag.
    """
    if not length:
        json = values.empty(attribute)
    elif attribute.private and length > limits.PRIVATE_BINARY and vr in values.BINARY:
        json = b'""'
    elif length > limits.VALUE:
        json = b'""'
        warnings.append(
            Warning(
                "ElementsDiscarded",
                f"{attribute.name}: the value of {length} bytes is too long for the metadata; "
                "it is kept in the original data set",
            )
        )
    else:
        data = read()
        try:
            if vr == "UN" and attribute.keyed and attribute.vr != "UN":
                raise values.InvalidValueError
            json = values.value_json(attribute, vr, data, charset, warnings, big=big)
        except values.InvalidValueError:
            reason = (
                f"{length} bytes are not a valid value of VR {vr}" if vr != "UN" else "the file gives no VR"
            )
            warnings.append(
                Warning("CoercionOfDataElements", f"{attribute.name}: {reason}; the element is shown as UN")
            )
            return (
                b'"%s":%s' % (attribute.hex.encode(), values.binary("UN", data, big=False)),
                listed_vr(attribute, "UN"),
            )
    return attribute.key + json, b"" if attribute.keyed else listed_vr(attribute, vr)


def needed_value(
    attribute: Attribute, vr: str, data: bytes, charset: Charset, *, big: bool
) -> str | float | None:
    """The first value of a `NEEDED` element as text or number, None if it has none.

    Zero bytes in a text, which databases may reject, become U+FFFD.
    """
    if vr in values.TEXT:
        text = values.decode_text(attribute, vr, data, charset, []).strip(" \0")
        return text.replace("\0", "\ufffd") or None
    if vr in values.NUMBERS:
        numbers = values.numbers(vr, data, big=big)
        return numbers[0] if numbers else None
    return None
