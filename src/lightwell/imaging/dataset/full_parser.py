"""The full parser: parses every data set that `element_scanner` can scan, element by element.

Slow but complete: all uncompressed encodings, character sets that change within sequences, VRs that depend on
other elements (PS3.5 Annex A and PS3.3 C.11.1.1.1, C.7.6.3.1), UN, private dictionaries, values of any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from lightwell.domain.image_sets.levels import INSTANCE
from lightwell.domain.imports.warnings import Warning
from lightwell.domain.limits import METADATA
from lightwell.errors import InputError
from lightwell.imaging.dataset import dicom_json, dictionary, values
from lightwell.imaging.dataset.character_sets import Charset, charset_of
from lightwell.imaging.dataset.dictionary import Attribute, attribute_of
from lightwell.imaging.dataset.element_scanner import ElementScanner, ElementSpan
from lightwell.imaging.dataset.nested_pixels import DecodeNested, NativePixels, encapsulated_pixels
from lightwell.imaging.dataset.parsed_element import (
    NEEDED,
    ParsedElement,
    element_json,
    has_usual_key,
    listed_vr,
    needed_value,
)


@dataclass(frozen=True, slots=True)
class ItemContext:
    """What the elements of a data set or item depend on; an item inherits the character set and the sign."""

    charset: Charset
    creators: dict[int, str]  # private group and block → creator
    signed: bool
    single_lut_value: bool  # the LUT of this item has one entry


class FullParser:
    """Parses the elements that a scanner found.

    Encapsulated pixel data within sequences is shown as ``decode_nested`` decodes it, and is left out if it
    cannot be decoded.
    """

    def __init__(self, scanner: ElementScanner, decode_nested: DecodeNested | None = None) -> None:
        self._scanner = scanner
        self._decode_nested = decode_nested
        self._bytes = 0

    def parse(self, spans: Sequence[ElementSpan]) -> list[ParsedElement]:
        """The top-level elements in tag order, without pixel elements and group lengths."""
        warnings: list[Warning] = []
        ordered = sorted_by_tag(spans, warnings)
        context = self._context_of(ordered, None, warnings)
        elements: list[ParsedElement] = []
        for span in ordered:
            if span.tag in dictionary.PIXEL_TAGS:
                continue
            attribute = attribute_of(span.tag)
            vrs: dict[bytes, bytes] = {}
            json, dicom = self._parse_element(span, attribute, context, 0, vrs, warnings, attribute.hex)
            needed = span.tag in NEEDED
            value = self._needed_value(span, attribute, context) if needed else None
            self._count_bytes(json)
            level = attribute.level if has_usual_key(attribute, json) else INSTANCE
            nested = len(vrs) > 1 or (bool(vrs) and not json.startswith(next(iter(vrs))))
            listed = tuple(vrs.values())
            elements.append(
                ParsedElement(span.tag, level, json, listed, tuple(warnings), value, needed, nested, dicom)
            )
            warnings.clear()
        return elements

    def _context_of(
        self, spans: Sequence[ElementSpan], outer: ItemContext | None, warnings: list[Warning]
    ) -> ItemContext:
        charset = outer.charset if outer else charset_of(b"")
        signed = outer.signed if outer else False
        single_lut_value = False
        private = []
        for span in spans:
            if span.tag == dictionary.CHARSET:
                charset = charset_of(self._scanner.read(span) if span.length < 4096 else b"?")
                if charset.unknown:
                    unknown = ", ".join(repr(term) for term in charset.unknown)[:200]
                    warnings.append(
                        Warning(
                            "CoercionOfDataElements", f"SpecificCharacterSet: {unknown} is not a known term"
                        )
                    )
            elif span.tag == dictionary.PIXEL_REPRESENTATION and span.length == 2:
                signed = any(self._scanner.read(span))
            elif span.tag == dictionary.LUT_DESCRIPTOR and span.length >= 2:
                single_lut_value = self._scanner.read(span)[:2] == (b"\0\1" if span.encoding.big else b"\1\0")
            elif span.encoding.implicit and span.tag >> 16 & 1 and 0x10 <= span.tag & 0xFFFF <= 0xFF:
                private.append(span)
        creators = {
            span.tag: charset.decode(self._scanner.read(span))[0].strip(" \0")
            for span in private
            if span.length <= 256
        }
        return ItemContext(charset, creators, signed, single_lut_value)

    def _parse_element(
        self,
        span: ElementSpan,
        attribute: Attribute,
        context: ItemContext,
        depth: int,
        vrs: dict[bytes, bytes],
        warnings: list[Warning],
        path: str,
    ) -> tuple[bytes, bytes]:
        """``"key":value`` of an element, and its DICOM JSON Model. ``path`` ends with the element."""
        vr = vr_of(span, attribute, context)
        if vr == "SQ":
            if span.undefined or span.vr == "SQ" or (not span.vr and not attribute.private):
                _list_vr(attribute, vr, vrs)
                return self._parse_sequence(span, attribute, context, depth, vrs, warnings, path)
            inner, inner_warnings = dict(vrs), list(warnings)
            try:
                _list_vr(attribute, vr, inner)
                texts = self._parse_sequence(span, attribute, context, depth, inner, inner_warnings, path)
            except InputError:
                vr = "UN"  # a sequence by the dictionary only
            else:
                vrs.update(inner)
                warnings[:] = inner_warnings
                return texts
        elif span.undefined and vr not in values.BINARY:
            raise InputError(
                f"{attribute.name} has an undefined length, which VR {vr} does not allow: the file is damaged"
            )
        arguments = (attribute, vr, span.length, lambda: self._scanner.read(span), context.charset)
        json, listed = element_json(*arguments, warnings, big=span.encoding.big)
        if listed:
            vrs.setdefault(listed[:10], listed)
        dicom = (
            b""
            if span.tag in dicom_json.OFFSET_TABLES
            else dicom_json.from_reader(*arguments, path, big=span.encoding.big)
        )
        return json, dicom

    def _parse_sequence(
        self,
        span: ElementSpan,
        attribute: Attribute,
        context: ItemContext,
        depth: int,
        vrs: dict[bytes, bytes],
        warnings: list[Warning],
        path: str,
    ) -> tuple[bytes, bytes]:
        items: list[bytes] = []
        dicom_items: list[bytes] = []
        for number, elements in enumerate(self._scanner.scan_items(span, depth)):
            ordered = sorted_by_tag(elements, warnings)
            item_context = self._context_of(ordered, context, warnings)
            pixel = encapsulated_pixels(ordered)
            replaced: dict[int, tuple[bytes, bytes]] | None = None
            if pixel is not None:
                where = f"{attribute.name}, item {number + 1}"
                replaced = self._parse_nested_pixels(ordered, pixel, item_context, warnings, where)
            if replaced is not None:
                ordered = [span for span in ordered if span is not pixel and span.tag not in replaced]
            texts = [
                self._parse_element(
                    inner,
                    attribute_of(inner.tag),
                    item_context,
                    depth + 1,
                    vrs,
                    warnings,
                    f"{path}/{number}/{inner.tag:08X}",
                )
                for inner in ordered
            ]
            if replaced:
                by_tag = dict(zip((span.tag for span in ordered), texts, strict=True)) | replaced
                texts = [by_tag[tag] for tag in sorted(by_tag)]
            item = b"{" + b",".join([json for json, _ in texts]) + b"}"
            if not depth:
                self._count_bytes(item)
            items.append(item)
            dicom_items.append(b",".join([dicom for _, dicom in texts if dicom]))
        json = b"[" + b",".join(items) + b"]" if items else values.empty(attribute)
        return attribute.key + json, dicom_json.from_items(attribute, dicom_items)

    def _parse_nested_pixels(
        self,
        elements: Sequence[ElementSpan],
        pixel: ElementSpan,
        context: ItemContext,
        warnings: list[Warning],
        where: str,
    ) -> dict[int, tuple[bytes, bytes]] | None:
        """The texts of the elements that decoding changes, by tag; none if the pixel data is not shown.

        None if it stays as it is.
        """
        native: NativePixels | str | None = "it is decoded at import only"
        if self._decode_nested is not None:
            native = self._decode_nested(self._scanner, elements, pixel)
        if native is None:
            return None
        if isinstance(native, str):
            text = (
                f"{where}: encapsulated PixelData cannot be decoded: {native}. It is left out of the metadata"
                " and of files in another transfer syntax"
            )
            warnings.append(Warning("ElementsDiscarded", text))
            return {}
        if len(native.value) > dicom_json.BULK_THRESHOLD:
            text = f"{where}: PixelData of {len(native.value)} bytes is left out of the metadata"
            warnings.append(Warning("ElementsDiscarded", text))
            return {}
        texts = {}
        for tag, (vr, value) in native.elements().items():
            attribute = attribute_of(tag)
            json, _ = element_json(
                attribute, vr, len(value), partial(bytes, value), context.charset, warnings
            )
            texts[tag] = json, dicom_json.from_bytes(attribute, vr, value, context.charset)
        return texts

    def _count_bytes(self, json: bytes) -> None:
        self._bytes += len(json)
        if self._bytes > METADATA:
            raise InputError(f"The metadata of the instance exceed {METADATA} bytes")

    def _needed_value(
        self, span: ElementSpan, attribute: Attribute, context: ItemContext
    ) -> str | float | None:
        vr = vr_of(span, attribute, context)
        if span.length > 65_536 or span.undefined:
            return None
        try:
            return needed_value(
                attribute, vr, self._scanner.read(span), context.charset, big=span.encoding.big
            )
        except values.InvalidValueError:
            return None


def vr_of(span: ElementSpan, attribute: Attribute, context: ItemContext) -> str:
    """The VR by which a value is parsed: the one in the file, unless that is absent or UN."""
    vr = span.vr
    if vr in values.KNOWN and vr != "UN":
        return vr
    if vr and vr != "UN":
        return "UN"
    known = attribute.vr
    if attribute.private and not known:
        if span.undefined:
            return "SQ"
        creator = context.creators.get(span.tag & 0xFFFF0000 | span.tag >> 8 & 0xFF)
        return dictionary.private_vr(span.tag, creator) if creator and not vr else "UN"
    if not known:
        return "SQ" if span.undefined else "UN"
    if len(known) == 2:
        return known
    if span.undefined:
        return "OB"
    if known == "US or SS":
        return "SS" if context.signed else "US"
    if known == "US or OW" and context.single_lut_value:
        return "US"
    return "OW"


def _list_vr(attribute: Attribute, vr: str, vrs: dict[bytes, bytes]) -> None:
    if not attribute.keyed:
        listed = listed_vr(attribute, vr)
        vrs.setdefault(listed[:10], listed)


def sorted_by_tag(spans: Sequence[ElementSpan], warnings: list[Warning]) -> list[ElementSpan]:
    """Spans in tag order, without group lengths; of several with one tag the last."""
    ordered: list[ElementSpan] = []
    last = -1
    sorted_already = True
    for span in spans:
        if span.tag <= last:
            sorted_already = False
        last = span.tag
        if span.tag & 0xFFFF or span.tag >> 16 == 2:
            ordered.append(span)
    if sorted_already:
        return ordered
    unique = {span.tag: span for span in ordered}
    if len(unique) < len(ordered):
        repeated = sorted({p.tag for p in ordered if unique[p.tag] is not p})
        names = ", ".join(attribute_of(tag).name for tag in repeated[:8])
        warnings.append(
            Warning("CoercionOfDataElements", f"{names}: the element is repeated; the last one is used")
        )
    return [unique[tag] for tag in sorted(unique)]
